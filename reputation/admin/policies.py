"""What operators decide: policies and their revisions, code tiers, major providers."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from reputation.admin.policy_form import PolicyForm, PolicyRevisionInline, in_words
from reputation.admin.revisions import RevisionAdmin, RevisionedAdmin
from reputation.domain.policy import percent
from reputation.models import CodeTier, MajorProviderDomain, Policy, PolicyRevision, TierMinimum
from reputation.policies import NUMBERS, change_policy
from telemetry.admin.parts import StandardAdmin, acting_user, column


@admin.register(Policy)
class PolicyAdmin(RevisionedAdmin):
    """The thresholds of each pool; every change is a revision."""

    form = PolicyForm
    inlines = (PolicyRevisionInline,)
    list_display = ("pool", "revision", "window", "minimum_volume", "blacklisted", "quarantine", "warning", "majors_by")
    list_select_related = ("pool",)
    viewer_fields = ("pool", "revision", "window", "minimum_volume", "count_major_by")
    fieldsets = (
        (None, {"fields": (("pool", "revision"), ("window", "minimum_volume"), "count_major_by", "seen_revision")}),
        (
            "Blacklisted",
            {"fields": (("blacklisted_ratio_above", "blacklisted_domains_from", "blacklisted_majors_from"),)},
        ),
        (
            "Quarantine",
            {
                "fields": (
                    ("quarantine_a_ratio_above", "quarantine_a_majors_from"),
                    ("quarantine_b_ratio_above", "quarantine_b_domains_from"),
                )
            },
        ),
        ("Warning", {"fields": (("warning_ratio_from", "warning_temporary_above", "warning_refused_from"),)}),
        ("Why", {"fields": ("reason",)}),
    )

    def save_model(self, request: HttpRequest, obj: Policy, form: Any, change: bool) -> None:
        """Change it the one way that keeps a revision; a new policy begins as revision 0, the product's defaults."""
        values = {name: form.cleaned_data[name] for name in NUMBERS if name in form.cleaned_data}
        with transaction.atomic():
            row = obj if change else Policy.objects.create(pool=obj.pool, revision=0)
            saved = change_policy(row, values, user=acting_user(request), reason=form.cleaned_data["reason"])
        obj.pk, obj.revision = saved.pk, saved.revision

    @column("blacklisted")
    def blacklisted(self, row: Policy) -> str:
        """The rule in short."""
        ratio = percent(row.blacklisted_ratio_above)
        return f"> {ratio}, ≥ {row.blacklisted_domains_from} domains, ≥ {row.blacklisted_majors_from} majors"

    @column("quarantine")
    def quarantine(self, row: Policy) -> str:
        """Both rules in short."""
        first, second = percent(row.quarantine_a_ratio_above), percent(row.quarantine_b_ratio_above)
        return f"> {first} and a tier, or > {second} at ≥ {row.quarantine_b_domains_from} domains"

    @column("warning")
    def warning(self, row: Policy) -> str:
        """The first rule in short."""
        return f"≥ {percent(row.warning_ratio_from)}"

    @column("majors by", order="count_major_by")
    def majors_by(self, row: Policy) -> str:
        """How major providers are counted."""
        return row.count_major_by


@admin.register(PolicyRevision)
class PolicyRevisionAdmin(RevisionAdmin):
    """All revisions, newest first."""

    words = staticmethod(in_words)


class _KeyedAdmin(StandardAdmin):
    """Small tables whose key is the word itself: written when a row is added, fixed afterwards."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Changing a key would make a second row."""
        return () if obj is None else (self.opts.pk.name,)


@admin.register(CodeTier)
class CodeTierAdmin(_KeyedAdmin):
    """Which enhanced codes weigh alike."""

    list_display = ("code", "tier", "note")
    list_filter = (("tier", ChoicesDropdownFilter),)
    search_fields = ("code", "note")
    empty_hint = "Without tiers no IP is ever blacklisted, and none is quarantined by rule A."


@admin.register(TierMinimum)
class TierMinimumAdmin(_KeyedAdmin):
    """How many refusals with one code reach its tier."""

    list_display = ("tier", "minimum")


@admin.register(MajorProviderDomain)
class MajorProviderDomainAdmin(_KeyedAdmin):
    """The domains of major mailbox providers."""

    list_display = ("domain", "provider")
    search_fields = ("domain", "provider")
    empty_hint = "Without major providers no IP is ever blacklisted, and none is quarantined by rule A."

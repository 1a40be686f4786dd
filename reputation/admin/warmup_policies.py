"""Warm-up templates and policies: shown to all who may look, changed with a reason by those who may."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import BooleanRadioFilter

from reputation.admin.revisions import RevisionAdmin, RevisionedAdmin, RevisionedForm, RevisionInline
from reputation.domain.policy import percent
from reputation.models import WarmupPolicy, WarmupPolicyRevision, WarmupTemplate
from reputation.warmup_policies import NUMBERS, as_domain, change_warmup_policy, new_policy
from reputation.warmup_templates import FIELDS, delete_template, save_template
from telemetry.admin.parts import (
    StandardAdmin,
    acting_user,
    column,
)


@admin.register(WarmupTemplate)
class WarmupTemplateAdmin(StandardAdmin):
    """Schedules; the built-in ones are to be read, one's own to be edited."""

    list_display = ("name", "days_shown", "from_to", "unit", "builtin", "source")
    list_filter = (("builtin", BooleanRadioFilter),)
    search_fields = ("name", "description", "source")
    readonly_fields = ("builtin",)
    fieldsets = (
        (None, {"fields": (("name", "unit"), "description", ("source", "builtin"))}),
        ("Recipients by day", {"fields": ("amounts", "provider_amounts")}),
        ("Or percent of the full volume", {"fields": ("provider_shares",)}),
    )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A built-in template stays as it is published."""
        return super().has_change_permission(request, obj) and not (obj is not None and obj.builtin)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The same."""
        return super().has_delete_permission(request, obj) and not (obj is not None and obj.builtin)

    def save_model(self, request: HttpRequest, obj: WarmupTemplate, form: Any, change: bool) -> None:
        """With its audit row; what runs keeps its numbers."""
        values = {name: form.cleaned_data[name] for name in FIELDS if name in form.cleaned_data}
        save_template(obj, values, user=acting_user(request))

    def delete_model(self, request: HttpRequest, obj: WarmupTemplate) -> None:
        """With its audit row."""
        delete_template(obj, user=acting_user(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[WarmupTemplate]) -> None:
        """The same for several; built-in ones stay."""
        for row in queryset.filter(builtin=False):
            delete_template(row, user=acting_user(request))

    @column("days")
    def days_shown(self, row: WarmupTemplate) -> int:
        """How many."""
        return row.days

    @column("from and to")
    def from_to(self, row: WarmupTemplate) -> str:
        """The first and the last day."""
        if row.is_in_percent:
            return "percent of the full volume"
        return f"{row.amounts[0]:,} to {row.amounts[-1]:,}"


class WarmupPolicyForm(RevisionedForm):
    """The numbers, and why they change."""

    class Meta:
        model = WarmupPolicy
        fields = ("pool", *NUMBERS)

    def clean(self) -> dict[str, Any]:
        """Refuse numbers that do not fit each other."""
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors:
            candidate = WarmupPolicy(**{name: cleaned[name] for name in NUMBERS if name in cleaned})
            try:
                as_domain(candidate)
            except ValueError as error:
                raise ValidationError(f"{str(error).capitalize()}.") from None
        return cleaned


def _in_words(values: dict[str, str]) -> dict[str, str]:
    """Stored numbers as they are shown."""
    return {
        name.replace("_", " "): percent(Decimal(value)) if name == "advance_share" else value
        for name, value in values.items()
    }


class _RevisionInline(RevisionInline):
    """What a warm-up policy was, when, by whom and why."""

    model = WarmupPolicyRevision
    words = staticmethod(_in_words)


@admin.register(WarmupPolicy)
class WarmupPolicyAdmin(RevisionedAdmin):
    """How the senders of each pool warm up; every change is a revision."""

    form = WarmupPolicyForm
    inlines = (_RevisionInline,)
    list_display = ("pool", "revision", "enabled", "on_detection", "ip_template", "domain_template", "time_zone")
    list_select_related = ("pool", "ip_template", "domain_template")
    viewer_fields = ("pool", "revision", "enabled", "time_zone", "advance_share")
    fieldsets = (
        (None, {"fields": (("pool", "revision"), ("enabled", "time_zone"), "advance_share", "seen_revision")}),
        (
            "Detection",
            {
                "fields": (
                    "on_detection",
                    ("ip_template", "domain_template"),
                    ("new_ip_within", "rewarm_after"),
                    ("domain_idle", "domain_messages_below"),
                )
            },
        ),
        ("Why", {"fields": ("reason",)}),
    )

    def save_model(self, request: HttpRequest, obj: WarmupPolicy, form: Any, change: bool) -> None:
        """Change it the one way that keeps a revision; a new policy begins as revision 0, the product's defaults."""
        values = {name: form.cleaned_data[name] for name in NUMBERS if name in form.cleaned_data}
        with transaction.atomic():
            row = obj if change else new_policy(obj.pool)
            saved = change_warmup_policy(row, values, user=acting_user(request), reason=form.cleaned_data["reason"])
        obj.pk, obj.revision = saved.pk, saved.revision


@admin.register(WarmupPolicyRevision)
class WarmupPolicyRevisionAdmin(RevisionAdmin):
    """All revisions, newest first."""

    words = staticmethod(_in_words)

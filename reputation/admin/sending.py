"""Sending policies: what the senders of each pool may send, whether permits bind, and what binding would have done."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter

from reputation.admin.revisions import RevisionAdmin, RevisionedAdmin
from reputation.admin.sending_form import (
    FAILURE_WORDS,
    MODE_WORDS,
    ProviderLimitFormSet,
    ProviderLimitInline,
    SendingPolicyForm,
    SendingRevisionInline,
    in_words,
)
from reputation.models import ProviderLimit, SendingPolicy, SendingPolicyRevision
from reputation.permit_summary import Line, pools_under, rule_word, summary
from reputation.sending_policies import CAPS, NUMBERS, change_sending_policy, new_policy
from telemetry.admin.parts import ReadOnlyAdmin, acting_user, button, column

MODE_COLOURS = {"observe": "", "warn": "info", "enforce": "warning"}
_CHOICES = {"mode": MODE_WORDS, "on_failure": FAILURE_WORDS}
_LOOK_BACK = (1, 24, 24 * 7)  # hours


@admin.register(SendingPolicy)
class SendingPolicyAdmin(RevisionedAdmin):
    """What the senders of each pool may send; every change is a revision."""

    form = SendingPolicyForm
    list_display = ("pool", "revision", "mode_label", "on_failure", "by_ip", "by_domain", "provider_limits_on")
    list_filter = (("mode", ChoicesDropdownFilter), ("provider_limits_on", BooleanRadioFilter))
    list_select_related = ("pool",)
    radio_fields = {"mode": admin.VERTICAL, "on_failure": admin.VERTICAL}
    actions_detail = ("look_ahead",)
    viewer_fields = ("pool", "revision", "mode", "on_failure")
    fieldsets = (
        (None, {"fields": (("pool", "revision"), "mode", "on_failure", "seen_revision")}),
        (
            "Limits",
            {
                "fields": (
                    ("ip_limit_per_hour", "domain_limit_per_hour"),
                    ("least_per_hour", "probe_per_hour"),
                    "provider_limits_on",
                )
            },
        ),
        ("Why", {"fields": ("reason",)}),
    )

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        """A new policy begins with the product's limits per provider; they are edited once it is there."""
        return [] if obj is None else [ProviderLimitInline, SendingRevisionInline]

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Each choice says what it does."""
        if db_field.name in _CHOICES:
            kwargs["choices"] = _CHOICES[db_field.name]
        field = super().formfield_for_choice_field(db_field, request, **kwargs)
        if field is not None and db_field.name in _CHOICES:
            field.help_text = ""
        return field

    def has_look_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may look at the record of permits."""
        return acting_user(request).has_perm("reputation.view_permitminute")

    def save_model(self, request: HttpRequest, obj: SendingPolicy, form: Any, change: bool) -> None:
        """Make a new one; a change waits for the limits that come with it, so that both are one revision."""
        if not change:
            self._change(request, None, obj, form, {})

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Change it the one way that keeps a revision."""
        caps: dict[str, Any] = {}
        for formset in formsets:
            formset.save(commit=False)  # tells the admin's own history what changed
            if isinstance(formset, ProviderLimitFormSet):
                caps = {CAPS: formset.wanted()}
        if change:
            self._change(request, form.instance, form.instance, form, caps)

    def _change(self, request: HttpRequest, row: Any, obj: SendingPolicy, form: Any, caps: dict[str, Any]) -> None:
        values = {name: form.cleaned_data[name] for name in NUMBERS if name in form.cleaned_data}
        with transaction.atomic():
            row = row or new_policy(obj.pool)
            reason = form.cleaned_data["reason"]
            saved = change_sending_policy(row, values | caps, user=acting_user(request), reason=reason)
        obj.pk, obj.revision = saved.pk, saved.revision

    @button("What would enforce have done?", permission="look", icon="query_stats")
    def look_ahead(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What an operator looks at before switching to enforce."""
        row: SendingPolicy | None = self.get_object(request, object_id)
        if row is None:
            raise Http404
        given = request.GET.get("hours", "")
        hours = int(given) if given.isdecimal() and int(given) in _LOOK_BACK else 24
        now, pools = timezone.now(), pools_under(row)
        found = summary(start=now - timedelta(hours=hours), end=now, pools=pools)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"What would enforce have done? Pool {row.pool}",
            "policy": row,
            "pools": pools,
            "summary": found,
            "hours": hours,
            "choices": _LOOK_BACK,
            "senders": [_line(line) for line in found.by_sender],
            "back": reverse("admin:reputation_sendingpolicy_change", args=[row.pk]),
            "record": reverse("admin:reputation_permitminute_changelist"),
        }
        return TemplateResponse(request, "admin/look_ahead.html", context)

    @column("mode", order="mode", words=MODE_COLOURS)
    def mode_label(self, row: SendingPolicy) -> str:
        """Whether answers bind."""
        return row.mode

    @column("limit per IP and hour", order="ip_limit_per_hour")
    def by_ip(self, row: SendingPolicy) -> str:
        """Before the score's share is taken."""
        return _number(row.ip_limit_per_hour)

    @column("limit per domain and hour", order="domain_limit_per_hour")
    def by_domain(self, row: SendingPolicy) -> str:
        """Before the score's share is taken."""
        return _number(row.domain_limit_per_hour)


@admin.register(SendingPolicyRevision)
class SendingPolicyRevisionAdmin(RevisionAdmin):
    """All revisions, newest first."""

    words = staticmethod(in_words)


@admin.register(ProviderLimit)
class ProviderLimitAdmin(ReadOnlyAdmin):
    """All limits per mailbox provider; they are changed on the page of their policy, with a reason."""

    list_display = ("policy", "provider_shown", "hourly", "daily", "in_force")
    list_select_related = ("policy__pool",)
    search_fields = ("provider", "policy__pool__name")
    fields = ("policy", ("provider_shown", "in_force"), ("hourly", "daily"))

    @column("mailbox provider", order="provider")
    def provider_shown(self, row: ProviderLimit) -> str:
        """Whom it is about."""
        return row.provider or "each one that is not named"

    @column("an hour", order="per_hour")
    def hourly(self, row: ProviderLimit) -> str:
        """Recipients."""
        return _number(row.per_hour)

    @column("a day", order="per_day")
    def daily(self, row: ProviderLimit) -> str:
        """Recipients."""
        return _number(row.per_day)

    @column("in force")
    def in_force(self, row: ProviderLimit) -> str:
        """Whether the policy has switched them on."""
        return "yes" if row.policy.provider_limits_on else "switched off"


def _number(value: int | None) -> str:
    return "no limit" if value is None else f"{value:,}"


def _line(line: Line) -> dict[str, Any]:
    return {
        "rule": rule_word(line.rule),
        "sender": " by ".join(name for name in (line.sending_domain, line.sending_ip) if name) or "senders not named",
        "would": line.would_have_been,
        "held": line.held_back,
        "reason": line.reason,
    }

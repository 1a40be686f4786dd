"""The standing of sending IPs: where they stand, why, how they stood; and the buttons that act on it."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeNumericFilter

from reputation.admin import selftest
from reputation.admin.acts import LIFT, OVERRIDE, QUARANTINE, RELEASE, Act, ask_and_act, in_words
from reputation.admin.labels import STATUS_COLOURS, look_further, of_sent, share
from reputation.models import IpStanding, IpStandingHistory, Override, SendingIP
from telemetry.admin.filters import ExactFilter, TimeFilter
from telemetry.admin.parts import (
    MOST_AT_ONCE,
    HugeTableAdmin,
    ReadOnlyAdmin,
    acting_user,
    as_json,
    as_list,
    button,
    column,
)


class _StandingColumns(ReadOnlyAdmin):
    """What current standing and history have in common."""

    @column("status", order="status", words=STATUS_COLOURS)
    def status_label(self, row: Any) -> str:
        """The status in force."""
        return str(row.status)

    @column("by the automation", words=STATUS_COLOURS)
    def automatic_label(self, row: Any) -> str:
        """What the numbers alone say."""
        return str(row.automatic_status)

    @column("rejected", order="rejection_ratio")
    def ratio(self, row: Any) -> str:
        """The ratio in percent."""
        return share(row.rejection_ratio)

    @column("refused / sent")
    def numbers(self, row: Any) -> str:
        """The two numbers behind the ratio."""
        return of_sent(row.total_rejected, row.total_sent)

    @column("issue")
    def issue(self, row: Any) -> str:
        """What is mainly wrong."""
        return str(row.issue_type).replace("_", " ") or "–"


@admin.register(IpStanding)
class IpStandingAdmin(_StandingColumns):
    """Current standing, worst first, and the four things that people may do about it."""

    list_display = (
        "sending_ip",
        "status_label",
        "automatic_label",
        "override",
        "ratio",
        "numbers",
        "issue",
        "since",
        "pool_name",
    )
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ("automatic_status", ChoicesDropdownFilter),
        ("issue_type", ExactFilter),
        ("rejection_ratio", RangeNumericFilter),
        ("since", TimeFilter),
    )
    search_fields = ("sending_ip",)
    search_help_text = "Part of a sending IP"
    actions = ("quarantine_selected", "release_selected", "override_selected", "lift_selected")
    actions_list = ("act_on_any",)
    actions_detail = ("quarantine", "release", "override_status", "lift")
    empty_hint = "Standing appears within seconds of the first event: make a source and a token under Sources."
    fieldsets = (
        (
            "Standing",
            {
                "fields": (
                    ("status_label", "automatic_label"),
                    ("override_in_force", "since"),
                    "why",
                    ("rule", "issue"),
                    "advice",
                    "further",
                )
            },
        ),
        (
            "Numbers of the window",
            {
                "fields": (
                    ("window_start", "window_end"),
                    ("ratio", "numbers"),
                    ("unique_recipient_domains", "majors"),
                    "codes",
                )
            },
        ),
        ("How it was computed", {"fields": (("computed_at", "policy_revision"), "details")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[IpStanding]:
        """Rows with their pool and the override in force, in one query."""
        in_force = Override.objects.filter(sending_ip=OuterRef("pk"), ended_at=None)
        rows: QuerySet[IpStanding] = super().get_queryset(request)
        return rows.annotate(
            pool=Subquery(SendingIP.objects.filter(pk=OuterRef("pk")).values("pool__name")[:1]),
            override_status=Subquery(in_force.values("status")[:1]),
            override_until=Subquery(in_force.values("expires_at")[:1]),
        )

    def get_urls(self) -> list[Any]:
        """Add the page of the scenarios."""
        page = path("scenarios/", self.admin_site.admin_view(partial(selftest.page, self)), name="reputation_scenarios")
        return [page, *super().get_urls()]

    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may act; the row itself stays read-only for everybody."""
        return acting_user(request).has_perm("reputation.change_ipstanding")

    @column("override")
    def override(self, row: Any) -> str:
        """The override in force, and its end."""
        if row.override_status is None:
            return "–"
        end = row.override_until
        return f"{row.override_status} {f'until {end:%m-%d %H:%M}' if end else 'until lifted'}"

    @column("pool", order="pool")
    def pool_name(self, row: Any) -> str:
        """Whose policy it is judged by."""
        return row.pool or "default"

    @column("override in force")
    def override_in_force(self, row: IpStanding) -> str:
        """With its reason."""
        return in_words(Override.objects.filter(sending_ip=row.pk, ended_at=None).first())

    @column("what to do")
    def advice(self, row: IpStanding) -> SafeString:
        """The recommendations, most urgent first."""
        return as_list(row.recommendations)

    @column("major providers refusing")
    def majors(self, row: IpStanding) -> str:
        """By domain or provider, as the policy counts them."""
        return ", ".join(row.major_providers) or "–"

    @column("refusals by code")
    def codes(self, row: IpStanding) -> SafeString:
        """Most frequent first."""
        by_count = sorted(row.counts_by_code.items(), key=lambda entry: (-entry[1], entry[0]))
        return as_list([f"{code or 'no code'} × {count}" for code, count in by_count])

    @column("details")
    def details(self, row: IpStanding) -> SafeString:
        """Everything else that a run noted."""
        return as_json(row.metadata)

    @column("look further")
    def further(self, row: IpStanding) -> SafeString:
        """Where else this IP appears."""
        return look_further(row.sending_ip)

    @admin.action(description="Quarantine…", permissions=["act"])
    def quarantine_selected(self, request: HttpRequest, queryset: QuerySet[IpStanding]) -> HttpResponse:
        """Several IPs, one reason."""
        return self._selected(request, QUARANTINE, "quarantine_selected")

    @admin.action(description="Release…", permissions=["act"])
    def release_selected(self, request: HttpRequest, queryset: QuerySet[IpStanding]) -> HttpResponse:
        """Several IPs, one reason."""
        return self._selected(request, RELEASE, "release_selected")

    @admin.action(description="Override the status…", permissions=["act"])
    def override_selected(self, request: HttpRequest, queryset: QuerySet[IpStanding]) -> HttpResponse:
        """Several IPs, one status, one reason."""
        return self._selected(request, OVERRIDE, "override_selected")

    @admin.action(description="Lift the override…", permissions=["act"])
    def lift_selected(self, request: HttpRequest, queryset: QuerySet[IpStanding]) -> HttpResponse:
        """Several IPs, one reason."""
        return self._selected(request, LIFT, "lift_selected")

    @button("Quarantine another IP", permission="act", icon="block")
    def act_on_any(self, request: HttpRequest) -> HttpResponse:
        """An IP that is not in the list yet, before it sends its first message."""
        return ask_and_act(self, request, QUARANTINE, None, back=_list())

    @button("Quarantine", permission="act", icon="block", danger=True)
    def quarantine(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """This IP."""
        return self._one(request, QUARANTINE, object_id)

    @button("Release", permission="act", icon="lock_open")
    def release(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """This IP."""
        return self._one(request, RELEASE, object_id)

    @button("Override", permission="act", icon="tune")
    def override_status(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """This IP."""
        return self._one(request, OVERRIDE, object_id)

    @button("Lift override", permission="act", icon="undo")
    def lift(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """This IP."""
        return self._one(request, LIFT, object_id)

    def _selected(self, request: HttpRequest, act: Act, action: str) -> HttpResponse:
        # By key and not by the filtered list: an IP whose status changed while the reason was written is still meant.
        keys = request.POST.getlist(ACTION_CHECKBOX_NAME)[:MOST_AT_ONCE]
        rows = list(self.get_queryset(request).filter(pk__in=keys))
        return ask_and_act(self, request, act, rows, back=request.get_full_path(), action=action)

    def _one(self, request: HttpRequest, act: Act, object_id: str) -> HttpResponse:
        row: IpStanding | None = self.get_object(request, object_id)
        if row is None:
            raise Http404
        return ask_and_act(self, request, act, [row], back=reverse("admin:reputation_ipstanding_change", args=[row.pk]))


def _list() -> str:
    return reverse("admin:reputation_ipstanding_changelist")


@admin.register(IpStandingHistory)
class IpStandingHistoryAdmin(_StandingColumns, HugeTableAdmin):
    """One row per run and IP, newest first."""

    list_display = (
        "computed_at",
        "sending_ip",
        "status_label",
        "automatic_label",
        "ratio",
        "numbers",
        "issue",
        "rule",
        "policy_revision",
    )
    list_filter = (
        ("computed_at", TimeFilter),
        ("status", ChoicesDropdownFilter),
        ("automatic_status", ChoicesDropdownFilter),
    )
    search_help_text = "An exact sending IP"
    empty_hint = "History begins with the first run after the first event; a run is every five minutes."
    fieldsets = (
        (None, {"fields": (("computed_at", "sending_ip"), ("status_label", "automatic_label"), ("rule", "issue"))}),
        (
            "Numbers of the window",
            {
                "fields": (
                    ("window_start", "window_end"),
                    ("ratio", "numbers"),
                    ("unique_recipient_domains", "policy_revision"),
                )
            },
        ),
    )

"""The audit log and the overrides: to be read, never to be written here."""

from __future__ import annotations

from django.contrib import admin
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from reputation.admin.labels import STATUS_COLOURS
from reputation.judgements import may_be_judged
from reputation.models import AuditEntry, Judgement, Override
from telemetry.admin.filters import ExactFilter, TimeFilter
from telemetry.admin.parts import BoundedPaginator, ReadOnlyAdmin, as_json, column


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Every change of standing and every act of a person, newest first."""

    date_hierarchy = "at"
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_display = ("at", "about", "action_words", "previous_label", "new_label", "who", "verdict", "reason_short")
    list_select_related = ("judgement",)
    list_filter = (
        ("at", TimeFilter),
        ("judgement__verdict", ChoicesDropdownFilter),
        ("action", ExactFilter),
        ("new", ExactFilter),
        ("triggered_by", ExactFilter),
    )
    search_fields = ("sending_ip", "subject", "reason", "triggered_by")
    search_help_text = "Part of an IP, subject, reason or user name"
    sortable_by = ()
    empty_hint = "The first change of an IP's status, or the first act of a person, writes the first row."
    fieldsets = (
        (
            None,
            {"fields": (("at", "about"), ("action_words", "who"), ("previous_label", "new_label"), "reason", "judged")},
        ),
        ("Evidence", {"fields": ("details",)}),
    )

    @column("about")
    def about(self, row: AuditEntry) -> str:
        """The IP, or what else it was."""
        return row.sending_ip or row.subject or "–"

    @column("action")
    def action_words(self, row: AuditEntry) -> str:
        """What was done."""
        return row.action.replace("_", " ")

    @column("from", words=STATUS_COLOURS)
    def previous_label(self, row: AuditEntry) -> str:
        """The status before."""
        return row.previous

    @column("to", words=STATUS_COLOURS)
    def new_label(self, row: AuditEntry) -> str:
        """The status after."""
        return row.new

    @column("by")
    def who(self, row: AuditEntry) -> str:
        """The user's name at that time, or "automated"."""
        return row.triggered_by

    @column("verdict", words={"right": "success", "false alarm": "warning"})
    def verdict(self, row: AuditEntry) -> str:
        """Whether somebody marked the change right or a false alarm."""
        judgement = _judgement(row)
        return judgement.get_verdict_display() if judgement else ""

    @column("judged")
    def judged(self, row: AuditEntry) -> str:
        """The verdict with who, when and why. It is given on the pages of the IP and the domain."""
        judgement = _judgement(row)
        if judgement is None:
            return "not judged" if may_be_judged(row) else "–"
        said = f"{judgement.get_verdict_display()}, by {judgement.judged_by} {judgement.judged_at:%Y-%m-%d %H:%M} UTC"
        return f"{said}: {judgement.note}" if judgement.note else said

    @column("reason")
    def reason_short(self, row: AuditEntry) -> str:
        """Its beginning."""
        return row.reason[:100] + "…" if len(row.reason) > 100 else row.reason

    @column("details")
    def details(self, row: AuditEntry) -> SafeString:
        """What was known at that moment."""
        return as_json(row.metadata)


def _judgement(row: AuditEntry) -> Judgement | None:
    return getattr(row, "judgement", None)


@admin.register(Judgement)
class JudgementAdmin(ReadOnlyAdmin):
    """What people said of automatic changes. Said and taken back on the pages of IPs and domains, and by the API."""

    list_display = ("at", "about", "action_words", "verdict_label", "note", "judged_by", "judged_at", "policy_revision")
    list_select_related = ("entry",)
    list_filter = (
        ("at", TimeFilter),
        ("verdict", ChoicesDropdownFilter),
        ("action", ExactFilter),
        ("judged_by", ExactFilter),
    )
    search_fields = ("note", "judged_by")
    search_help_text = "Part of a note or user name"
    sortable_by = ("at", "judged_at")
    empty_hint = "Mark a change right or a false alarm at “What was done” on the page of its IP or domain."

    @column("about")
    def about(self, row: Judgement) -> str:
        """The IP, or what else it was."""
        return row.entry.sending_ip or row.entry.subject or "–"

    @column("action")
    def action_words(self, row: Judgement) -> str:
        """What the automation did."""
        return row.action.replace("_", " ")

    @column("verdict", words={"right": "success", "false alarm": "warning"})
    def verdict_label(self, row: Judgement) -> str:
        """Right, or a false alarm."""
        return row.get_verdict_display()


@admin.register(Override)
class OverrideAdmin(ReadOnlyAdmin):
    """What people decided about IPs. Placed and lifted on the pages of IP standing."""

    list_display = (
        "sending_ip",
        "kind",
        "status_label",
        "state",
        "reason",
        "created_at",
        "created_by",
        "expires_at",
        "ended_at",
        "ended_by",
    )
    list_filter = (
        ("kind", ChoicesDropdownFilter),
        ("status", ChoicesDropdownFilter),
        ("ended_at", admin.EmptyFieldListFilter),
        ("created_at", TimeFilter),
    )
    list_select_related = ("created_by",)
    search_fields = ("sending_ip", "reason")
    search_help_text = "Part of an IP or reason"
    date_hierarchy = "created_at"
    empty_hint = "Nobody has overridden the automation. Quarantine, release and override are on the IP standing pages."

    @column("status", order="status", words=STATUS_COLOURS)
    def status_label(self, row: Override) -> str:
        """The status it set."""
        return row.status

    @column("state", words={"in force": "info", "ended": "", "due to end": "warning"})
    def state(self, row: Override) -> str:
        """Whether it still holds."""
        if row.ended_at is not None:
            return "ended"
        return "due to end" if row.expires_at and row.expires_at <= timezone.now() else "in force"

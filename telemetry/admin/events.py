"""What was reported: events, events that could not be taken, reported volumes."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter

from telemetry.admin.filters import EventTimeFilter, ExactFilter, TimeFilter
from telemetry.admin.parts import HugeTableAdmin, ModelForm, ReadOnlyAdmin, StandardAdmin, button, column
from telemetry.intake import replay
from telemetry.models import RejectedEvent, SendingEvent, VolumeReport

TYPES = {"delivery": "success", "bounce": "danger", "defer": "warning", "complaint": "danger"}
# Told one by one up to here; more would fill the page.
_MOST_TOLD = 5


@admin.register(SendingEvent)
class SendingEventAdmin(HugeTableAdmin):
    """Raw events, newest first, for the drill-down."""

    list_display = (
        "occurred_at",
        "type_label",
        "sending_ip",
        "sending_domain",
        "recipient_domain",
        "provider",
        "code",
        "cause",
        "reply_short",
        "source",
    )
    list_filter = (
        ("occurred_at", EventTimeFilter),
        ("type", ChoicesDropdownFilter),
        ("source", RelatedDropdownFilter),
        ("provider", ExactFilter),
        ("enhanced_code", ExactFilter),
        ("cause", ExactFilter),
    )
    list_select_related = ("source",)
    exact_texts = ("sending_domain", "recipient_domain", "message_id")
    search_help_text = "An exact sending IP, domain or message id"
    empty_hint = "No event was reported yet: make a source and a token under Sources, then send its curl line."
    fieldsets = (
        (
            "What happened",
            {"fields": (("type_label", "future"), ("occurred_at", "received_at"), ("code", "cause"), "reply")},
        ),
        (
            "Who to whom",
            {
                "fields": (
                    ("sending_ip", "sending_domain"),
                    ("recipient", "recipient_domain"),
                    ("provider", "mx_host"),
                )
            },
        ),
        (
            "How it was reported",
            {"fields": (("source", "node"), ("event_id", "message_id"), ("attempt_number", "classification"))},
        ),
    )

    @column("type", words=TYPES)
    def type_label(self, row: SendingEvent) -> str:
        """The outcome as a word in its colour."""
        return row.type

    @column("code")
    def code(self, row: SendingEvent) -> str:
        """Both codes, as a reply line has them."""
        return " ".join(part for part in (str(row.smtp_code or ""), row.enhanced_code) if part) or "–"

    @column("reply")
    def reply_short(self, row: SendingEvent) -> str:
        """The beginning of the reply text."""
        return row.reply[:60] + "…" if len(row.reply) > 60 else row.reply


class RejectedEventForm(ModelForm):
    """Only the payload can be mended."""

    class Meta:
        model = RejectedEvent
        fields = ("payload",)


@admin.register(RejectedEvent)
class RejectedEventAdmin(StandardAdmin):
    """Events that could not be taken; mended and replayed here."""

    form = RejectedEventForm
    list_display = ("received_at", "source", "state", "field", "message", "parser", "times", "last_received_at")
    list_filter = (
        ("received_at", TimeFilter),
        ("source", RelatedDropdownFilter),
        ("replayed_at", admin.EmptyFieldListFilter),
    )
    list_select_related = ("source",)
    search_fields = ("field", "message")
    search_help_text = "Part of the field or of the message"
    date_hierarchy = "received_at"
    empty_hint = "No event was rejected: everything that sources sent could be read."
    actions = ("replay_selected",)
    actions_submit_line = ("save_and_replay",)
    readonly_fields = (
        "source",
        "state",
        "field",
        "message",
        "parser",
        "times",
        "received_at",
        "last_received_at",
        "replayed_at",
    )
    fieldsets = (
        ("What is wrong", {"fields": (("state", "field"), "message")}),
        ("The event as it came", {"fields": ("payload",)}),
        (
            "How it came",
            {"fields": (("source", "parser", "times"), ("received_at", "last_received_at", "replayed_at"))},
        ),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Rows come from sources only."""
        return False

    @column("state", words={"waiting": "warning", "replayed": "success"})
    def state(self, row: RejectedEvent) -> str:
        """Whether it was taken in the end."""
        return "replayed" if row.replayed_at else "waiting"

    @admin.action(description="Replay the selected events", permissions=["change"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[RejectedEvent]) -> None:
        """Read each again; say how many were taken, and what is wrong with the others."""
        taken = 0
        wrong: list[str] = []
        for row in queryset.select_related("source"):
            rejection = replay(row, now=timezone.now())
            if rejection is None:
                taken += 1
                self.log_change(request, row, "Replayed.")
            else:
                wrong.append(f"{rejection.field}: {rejection.message}")
        if taken:
            messages.success(request, f"Replayed: {taken}. An event that was known already was not counted again.")
        if wrong:
            more = f" … and {len(wrong) - _MOST_TOLD} more" if len(wrong) > _MOST_TOLD else ""
            messages.error(request, f"Still wrong: {len(wrong)}. {'; '.join(wrong[:_MOST_TOLD])}{more}")

    @button("Save and replay", permission="change", icon="replay")
    def save_and_replay(self, request: HttpRequest, row: RejectedEvent) -> None:
        """Replay what was just saved."""
        rejection = replay(row, now=timezone.now())
        if rejection is None:
            self.log_change(request, row, "Replayed.")
            messages.success(request, "The event was taken. If it was known already, it was not counted again.")
        else:
            messages.error(request, f"Still wrong: {rejection.field}: {rejection.message}")


@admin.register(VolumeReport)
class VolumeReportAdmin(ReadOnlyAdmin):
    """Reported volumes."""

    list_display = ("sending_ip", "start", "end", "sent", "source", "reported_at")
    list_filter = (("end", TimeFilter), ("source", RelatedDropdownFilter))
    list_select_related = ("source",)
    search_fields = ("sending_ip",)
    empty_hint = "Only sources that report failures alone need this: POST /api/volumes says how much an IP sent."

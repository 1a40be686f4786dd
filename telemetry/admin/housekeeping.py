"""How long things are kept, and what the machinery remembers for itself."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RelatedDropdownFilter

from telemetry.admin.filters import TimeFilter
from telemetry.admin.parts import HugeTableAdmin, ReadOnlyAdmin, StandardAdmin, as_json, column
from telemetry.models import (
    ChangedSender,
    FollowedFile,
    Lease,
    MessageState,
    PostfixQueueEntry,
    Receipt,
    RetentionPolicy,
    RollupMark,
)


def span(length: timedelta) -> str:
    """A length of time in words: "90 days", "26 hours", "2 days 12 hours"."""
    hours, rest = divmod(int(length.total_seconds()), 3600)
    if rest:
        return str(length)
    days, hours = divmod(hours, 24) if hours >= 48 else (0, hours)
    parts = [f"{number} {word}{'' if number == 1 else 's'}" for number, word in ((days, "day"), (hours, "hour"))]
    return " ".join(part for part in parts if not part.startswith("0 ")) or "nothing"


@admin.register(RetentionPolicy)
class RetentionPolicyAdmin(StandardAdmin):
    """One row per kind of data; how long it is kept is the operator's to say, within what correctness needs."""

    list_display = ("title", "keeps", "not_less_than", "last_run_at", "last_removed")
    readonly_fields = ("title", "keeps", "not_less_than", "last_run_at", "last_removed")
    fieldsets = (
        (None, {"fields": ("title", ("keep", "not_less_than"))}),
        ("Last clean-up", {"fields": (("last_run_at", "last_removed"),)}),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The rows are there from the start."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A kind of data without a policy would be kept for ever."""
        return False

    @column("kept for", order="keep")
    def keeps(self, row: RetentionPolicy) -> str:
        """In words."""
        return span(row.keep)

    @column("not less than")
    def not_less_than(self, row: RetentionPolicy) -> str:
        """What other parts rely on."""
        return span(row.at_least) if row.at_least else "–"


@admin.register(Lease)
class LeaseAdmin(ReadOnlyAdmin):
    """Whose turn it is: one row per periodic task."""

    list_display = ("name", "state", "last_started_at", "last_finished_at", "runs", "failures", "last_error")
    search_fields = ("name", "last_error")
    empty_hint = "No periodic task has run yet: start the worker and beat beside the web process."

    @column("state", words={"running": "info", "failed": "danger", "idle": "success"})
    def state(self, row: Lease) -> str:
        """What it does now, or how it ended."""
        if row.holder and row.held_until > timezone.now():
            return "running"
        return "failed" if row.last_error else "idle"


@admin.register(FollowedFile)
class FollowedFileAdmin(ReadOnlyAdmin):
    """Where log followers stand."""

    list_display = ("path", "source", "offset", "updated_at")
    list_filter = (("source", RelatedDropdownFilter), ("updated_at", TimeFilter))
    list_select_related = ("source",)
    search_fields = ("path",)
    empty_hint = "No log is followed: “manage.py follow_postfix FILE” reads a Postfix log into a source."


@admin.register(PostfixQueueEntry)
class PostfixQueueEntryAdmin(ReadOnlyAdmin):
    """Messages that followed Postfix logs say are still in a queue."""

    list_display = ("queue_id", "host", "source", "sender", "recipients", "last_seen")
    list_filter = (("source", RelatedDropdownFilter), ("last_seen", TimeFilter))
    list_select_related = ("source",)
    search_fields = ("queue_id", "host", "sender")
    fields = (("queue_id", "host"), ("source", "sender"), "attempts_by_recipient", "last_seen")
    empty_hint = "No message of a followed Postfix is waiting in its queue."

    @column("recipients tried")
    def recipients(self, row: PostfixQueueEntry) -> int:
        """How many recipients have been tried."""
        return len(row.attempts)

    @column("attempts by recipient")
    def attempts_by_recipient(self, row: PostfixQueueEntry) -> SafeString:
        """How often each was tried."""
        return as_json(row.attempts)


@admin.register(Receipt)
class ReceiptAdmin(HugeTableAdmin):
    """Proofs that an event was taken; found by key only, because the table is as long as a week of events."""

    list_display = ("key", "received")
    fields = ("key", "received")
    ordering = ("-pk",)
    search_fields = ()
    exact_ip = ""
    empty_hint = "A receipt is kept for every event, for a week."

    @column("received on")
    def received(self, row: Receipt) -> date:
        """The day, in UTC."""
        return date(1970, 1, 1) + timedelta(days=row.received_on)


@admin.register(MessageState)
class MessageStateAdmin(HugeTableAdmin):
    """Which deferral of a message stands."""

    list_display = ("key", "source", "final", "attempt", "bucket", "sending_ip", "sending_domain", "provider")
    list_filter = ("final", ("updated_at", TimeFilter))
    list_select_related = ("source",)
    ordering = ("-pk",)
    search_help_text = "An exact sending IP or sending domain"
    exact_texts = ("sending_domain",)
    empty_hint = "Rows appear for messages that were deferred, where the source numbers its attempts."


@admin.register(ChangedSender)
class ChangedSenderAdmin(HugeTableAdmin):
    """Sending IPs with new events, until the poll has judged them: usually empty."""

    list_display = ("sending_ip", "noted_at")
    search_help_text = "An exact sending IP"
    empty_hint = "Nothing waits to be judged. If rows stay here, the worker or beat is not running."


@admin.register(RollupMark)
class RollupMarkAdmin(ReadOnlyAdmin):
    """Up to which minute the hour and day counters are complete."""

    list_display = ("rolled_up_to",)

"""Raw events and what guards them against being counted twice.

The hot tables refer to their source without a database constraint: a foreign key costs a look-up per row, and a source
with events is never deleted but made inactive.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from telemetry.domain.vocab import UNKNOWN_IP, EventType
from telemetry.models.sources import Source


class SendingEvent(models.Model):
    """One event as it was reported; for the drill-down and for classifying anew, never read by what decides.

    On PostgreSQL the table is partitioned by the day of `received_at` (`telemetry.partitions`), and its primary key in
    the database is wider than the model's (migration 0008): whoever reads by time should bound `received_at`, see
    `telemetry.domain.clean.received_from`.
    """

    source = models.ForeignKey(Source, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False)
    type = models.CharField(max_length=10, choices=[(word.value, word.value) for word in EventType])
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField()
    sending_ip = models.GenericIPAddressField("sending IP", default=UNKNOWN_IP)
    sending_domain = models.CharField(max_length=255, blank=True)
    recipient = models.CharField(max_length=330, blank=True, help_text="As far as the privacy setting keeps it.")
    recipient_domain = models.CharField(max_length=255, blank=True)
    provider = models.CharField("mailbox provider", max_length=60)
    mx_host = models.CharField("MX host", max_length=255, blank=True)
    smtp_code = models.SmallIntegerField("SMTP code", null=True, blank=True)
    enhanced_code = models.CharField(max_length=16, blank=True)
    cause = models.CharField(max_length=30, blank=True)
    reply = models.TextField(blank=True)
    attempt_number = models.IntegerField(null=True, blank=True)
    message_id = models.CharField(max_length=512, blank=True)
    classification = models.CharField(max_length=200, blank=True)
    node = models.CharField(max_length=200, blank=True)
    event_id = models.CharField(max_length=512, blank=True)
    future = models.BooleanField(
        "dated ahead", default=False, help_text="The source dated it into the future; the receive time was taken."
    )

    class Meta:
        verbose_name = "event"
        ordering = ["-id"]
        # Deliveries are the bulk and are not drilled into: the indexes for people hold failures only. The time of
        # receipt has an index of its own kind per database (migration 0008).
        indexes = [
            models.Index(
                fields=["sending_ip", "occurred_at"], condition=~Q(type="delivery"), name="event_failures_by_ip"
            ),
            models.Index(
                fields=["sending_domain", "occurred_at"], condition=~Q(type="delivery"), name="event_failures_by_domain"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.sending_ip} → {self.recipient_domain}"


class Receipt(models.Model):
    """Proof that an event was taken; whoever finds one here already answers "duplicate".

    A table of its own because it is kept for days while events are kept for months in daily partitions, and a unique
    key cannot span those. As small as it can be, for there is one per event: the source is part of the key, and a day
    is as exact as its retention. On SQLite it is WITHOUT ROWID (migration 0008).
    """

    key = models.UUIDField(primary_key=True)
    received_on = models.IntegerField(help_text="Days since 1970, UTC.")

    def __str__(self) -> str:
        return str(self.key)


class MessageState(models.Model):
    """Which deferral of a message stands: the latest attempt's, as long as no outcome is known.

    Only for messages that were deferred or took more than one attempt, and only from sources that number them.
    """

    key = models.UUIDField(primary_key=True)
    source = models.ForeignKey(Source, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False)
    final = models.BooleanField(default=False)
    attempt = models.IntegerField(default=0, help_text="Number of the latest deferred attempt; 0: none seen.")
    bucket = models.DateTimeField(null=True)
    sending_ip = models.GenericIPAddressField(default=UNKNOWN_IP)
    sending_domain = models.CharField(max_length=255, blank=True)
    provider = models.CharField(max_length=60, blank=True)
    updated_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return str(self.key)


class RejectedEvent(models.Model):
    """An event that could not be taken, as it came, until somebody mends and replays it or it is forgotten."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE)
    parser = models.CharField(max_length=30, help_text="Which format it was read as.")
    digest = models.CharField(max_length=64, editable=False)
    payload = models.TextField(help_text="The event as it came (JSON). Mend it here, then replay it.")
    field = models.CharField(max_length=200)
    message = models.CharField(max_length=500)
    times = models.PositiveIntegerField(default=1, help_text="How often it was sent.")
    received_at = models.DateTimeField(default=timezone.now, db_index=True)
    last_received_at = models.DateTimeField(default=timezone.now)
    replayed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-received_at"]
        constraints = [models.UniqueConstraint(fields=["source", "digest"], name="one_row_per_rejected_payload")]

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class VolumeReport(models.Model):
    """How many messages an IP sent in a stretch of time, as its operator reported it; never spread by guess."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE)
    sending_ip = models.GenericIPAddressField("sending IP")
    start = models.DateTimeField("from", help_text="A whole minute, UTC.")
    end = models.DateTimeField("to", help_text="A whole minute, UTC; not part of the stretch.")
    sent = models.PositiveBigIntegerField(help_text="Attempts that ended in this stretch, refusals included.")
    reported_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-end"]
        constraints = [
            models.UniqueConstraint(fields=["source", "sending_ip", "start", "end"], name="one_report_per_stretch"),
            models.CheckConstraint(condition=Q(end__gt=models.F("start")), name="a_report_ends_after_it_starts"),
        ]
        indexes = [models.Index(fields=["sending_ip", "end"], name="volume_by_ip")]

    def __str__(self) -> str:
        return f"{self.sending_ip}: {self.sent}"

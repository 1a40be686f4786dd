"""Counters: what everything that decides reads. Minute → hour → day; see `telemetry.counters` for how they relate.

On PostgreSQL the primary keys in the database are (id, sending_ip): they carry the column by which the tables would be
distributed over machines (migration 0008, docs/storage.md). The id alone is unique all the same.
"""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from telemetry.models.sources import Source


class Traffic(models.Model):
    """How many attempts ended how, by time, sending IP, sending domain, mailbox provider and source."""

    id = models.UUIDField(primary_key=True, editable=False)
    bucket = models.DateTimeField()
    sending_ip = models.GenericIPAddressField("sending IP")
    sending_domain = models.CharField(max_length=255, blank=True)
    provider = models.CharField("mailbox provider", max_length=60)
    source = models.ForeignKey(Source, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False)
    delivered = models.BigIntegerField(default=0)
    bounced = models.BigIntegerField(default=0)
    deferred = models.BigIntegerField(default=0, help_text="Attempts.")
    superseded = models.BigIntegerField(
        default=0, help_text="Deferred attempts whose message had a later attempt or outcome."
    )
    complained = models.BigIntegerField(default=0)

    class Meta:
        abstract = True
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.bucket:%Y-%m-%d %H:%M} {self.sending_ip} → {self.provider}"


class TrafficMinute(Traffic):
    """Kept 48 hours."""

    last_delivered_at = models.DateTimeField(
        null=True, help_text="The latest delivery in this cell: tells whether refusals came after it."
    )

    class Meta(Traffic.Meta):
        verbose_name_plural = "traffic by minute"
        indexes = [models.Index(fields=["sending_ip", "bucket"], name="traffic_minute_by_ip")]


class TrafficHour(Traffic):
    """Kept 90 days."""

    class Meta(Traffic.Meta):
        verbose_name_plural = "traffic by hour"
        indexes = [
            models.Index(fields=["sending_ip", "bucket"], name="traffic_hour_by_ip"),
            models.Index(fields=["sending_domain", "bucket"], name="traffic_hour_by_domain"),
        ]


class TrafficDay(Traffic):
    """Kept two years."""

    class Meta(Traffic.Meta):
        verbose_name_plural = "traffic by day"
        indexes = [
            models.Index(fields=["sending_ip", "bucket"], name="traffic_day_by_ip"),
            models.Index(fields=["sending_domain", "bucket"], name="traffic_day_by_domain"),
        ]


class Refusal(models.Model):
    """How many bounces and deferrals said what; the only counters that know recipient domains."""

    id = models.UUIDField(primary_key=True, editable=False)
    bucket = models.DateTimeField()
    sending_ip = models.GenericIPAddressField("sending IP")
    sending_domain = models.CharField(max_length=255, blank=True)
    recipient_domain = models.CharField(max_length=255, blank=True)
    provider = models.CharField("mailbox provider", max_length=60)
    code = models.CharField(max_length=16, blank=True)
    cause = models.CharField(max_length=30)
    count = models.BigIntegerField(default=0)

    class Meta:
        abstract = True
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.bucket:%Y-%m-%d %H:%M} {self.sending_ip} {self.code} at {self.recipient_domain}"


class RefusalMinute(Refusal):
    """Kept 48 hours."""

    class Meta(Refusal.Meta):
        verbose_name_plural = "refusals by minute"
        indexes = [models.Index(fields=["sending_ip", "bucket"], name="refusal_minute_by_ip")]


class RefusalHour(Refusal):
    """Kept 90 days."""

    class Meta(Refusal.Meta):
        verbose_name_plural = "refusals by hour"
        indexes = [
            models.Index(fields=["sending_ip", "bucket"], name="refusal_hour_by_ip"),
            models.Index(fields=["sending_domain", "bucket"], name="refusal_hour_by_domain"),
        ]


class RefusalDay(Refusal):
    """Kept two years."""

    class Meta(Refusal.Meta):
        verbose_name_plural = "refusals by day"
        indexes = [
            models.Index(fields=["sending_ip", "bucket"], name="refusal_day_by_ip"),
            models.Index(fields=["sending_domain", "bucket"], name="refusal_day_by_domain"),
        ]


class RollupMark(models.Model):
    """The one row that says up to which minute the hour and day tables are complete."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    rolled_up_to = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.rolled_up_to:%Y-%m-%d %H:%M}"


class ChangedSender(models.Model):
    """A queue: each batch leaves the sending IPs it touched, in its own transaction; the poll takes them away.

    Rows are only ever inserted and deleted, so writers do not wait for each other, and a batch that commits late is
    found late instead of never, as it would be with a watermark over serial numbers.
    """

    sending_ip = models.GenericIPAddressField()
    noted_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return str(self.sending_ip)

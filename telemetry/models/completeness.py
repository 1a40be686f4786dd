"""What mail servers counted themselves, beside what they reported to us."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from telemetry.models.sources import Source


class MetricsWatch(models.Model):
    """Where the reading of a source's metrics page stands: the last values, and how the last attempt went."""

    source = models.OneToOneField(Source, on_delete=models.CASCADE, primary_key=True, related_name="metrics_watch")
    url = models.CharField(max_length=500, blank=True, help_text="Where the values come from; another one begins anew.")
    values = models.JSONField(default=dict, blank=True)
    read_at = models.DateTimeField("last read", null=True, blank=True)
    error = models.CharField("last error", max_length=300, blank=True, help_text="Empty while reading works.")
    failures = models.PositiveIntegerField(default=0, help_text="Failed readings in a row.")
    tried_at = models.DateTimeField("last tried", default=timezone.now)
    volume_ip = models.GenericIPAddressField(
        "volume of", null=True, blank=True, help_text="The one sending IP whose volume the counters give, if any."
    )
    volume_from = models.DateTimeField(null=True, blank=True)
    volume_delivered = models.BigIntegerField(default=0)
    volume_refused = models.BigIntegerField(default=0)
    volume_bounced = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["source__name"]
        verbose_name = "metrics page"

    def __str__(self) -> str:
        return str(self.source)


class CompletenessReading(models.Model):
    """What a server counted in a stretch of whole minutes, and what arrived here of the same stretch.

    One row for each reading of the last day, and one for each hour before that.
    """

    source = models.ForeignKey(Source, on_delete=models.CASCADE, db_index=False)
    start = models.DateTimeField("from")
    end = models.DateTimeField("to", db_index=True)
    server_delivered = models.BigIntegerField(default=0)
    server_refused = models.BigIntegerField(default=0, help_text="Refusals, temporary ones included.")
    server_bounced = models.BigIntegerField(default=0, help_text="Recipients given up for good.")
    arrived_delivered = models.BigIntegerField(default=0)
    arrived_failed = models.BigIntegerField(default=0, help_text="Bounces and deferrals.")
    restarted = models.BooleanField(default=False, help_text="The server was started anew in between.")
    is_hour = models.BooleanField("whole hour", default=False, help_text="The readings of an hour, added up.")

    class Meta:
        ordering = ["-end"]
        constraints = [models.UniqueConstraint(fields=["source", "start"], name="one_reading_per_stretch")]

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M}: {self.arrived_delivered} of {self.server_delivered}"

"""Where a log follower stands, stored in the transaction that records what it read."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from telemetry.models.sources import Source


class FollowedFile(models.Model):
    """The position in one followed file."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE)
    path = models.CharField(max_length=1000)
    device = models.DecimalField(max_digits=20, decimal_places=0, default=0)
    inode = models.DecimalField(max_digits=20, decimal_places=0, default=0)
    offset = models.BigIntegerField(default=0)
    head_digest = models.CharField(max_length=64, blank=True, help_text="Of the first bytes: tells a rewritten file.")
    head_length = models.IntegerField(default=0)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "path"], name="one_position_per_file")]

    def __str__(self) -> str:
        return f"{self.path} at {self.offset}"


class PostfixQueueEntry(models.Model):
    """What is known of a message still in a Postfix queue: its sender, and how often each recipient was tried."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE)
    host = models.CharField(max_length=255, blank=True)
    queue_id = models.CharField(max_length=64)
    sender = models.CharField(max_length=330, blank=True)
    attempts = models.JSONField(default=dict)
    last_seen = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "Postfix queue entries"
        constraints = [models.UniqueConstraint(fields=["source", "host", "queue_id"], name="one_entry_per_queue_id")]

    def __str__(self) -> str:
        return f"{self.host} {self.queue_id}"

"""Mails that came as reports and are none that can be read."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from telemetry.models.sources import Source


class UnknownReport(models.Model):
    """A mail that was handed in as a report and is neither a complaint nor a bounce in a form we know.

    Kept for a look: a format worth adding, or a mail that should not have come here.
    """

    source = models.ForeignKey(Source, on_delete=models.CASCADE)
    digest = models.CharField(max_length=64, editable=False)
    why = models.CharField(max_length=200, help_text="Why it could not be read as a report.")
    sender = models.CharField("from", max_length=400, blank=True)
    subject = models.CharField(max_length=400, blank=True)
    message_id = models.CharField(max_length=512, blank=True)
    content_type = models.CharField(max_length=100, blank=True)
    raw = models.TextField("mail", help_text="Its beginning, as it came.")
    size = models.PositiveIntegerField(help_text="Bytes of the whole mail.")
    times = models.PositiveIntegerField(default=1, help_text="How often it was handed in.")
    received_at = models.DateTimeField(default=timezone.now, db_index=True)
    last_received_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-received_at"]
        constraints = [models.UniqueConstraint(fields=["source", "digest"], name="one_row_per_unknown_report")]

    def __str__(self) -> str:
        return self.subject or self.digest[:12]

"""What is kept between two batches of Stalwart's webhook until its events can be joined, and what it sent for nothing.

Ids of spans are unsigned 64-bit numbers. They are kept as text: a signed BIGINT is too small, and SQLite turns a larger
number in a numeric column into a float.
"""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from telemetry.models.sources import Source


class StalwartConnect(models.Model):
    """A connection of a delivery attempt: the only event with the sending IP."""

    id = models.UUIDField(primary_key=True, editable=False)
    source = models.ForeignKey(Source, on_delete=models.CASCADE, db_constraint=False, db_index=False)
    span = models.CharField(max_length=24)
    key = models.CharField(max_length=32)
    mx_host = models.CharField("MX host", max_length=255, blank=True)
    domain = models.CharField(max_length=255, blank=True)
    local_ip = models.GenericIPAddressField("local IP")
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField(db_index=True)

    class Meta:
        indexes = [models.Index(fields=["source", "span"], name="stalwart_connect_by_span")]

    def __str__(self) -> str:
        return f"{self.span} {self.local_ip} → {self.mx_host}"


class StalwartHeld(models.Model):
    """An outcome that waits for its connection or for what else is said of the same attempt."""

    id = models.UUIDField(primary_key=True, editable=False)
    source = models.ForeignKey(Source, on_delete=models.CASCADE, db_constraint=False, db_index=False)
    span = models.CharField(max_length=24)
    outcome = models.TextField(help_text="As `telemetry.domain.stalwart_joins.Outcome` (JSON).")
    received_at = models.DateTimeField()
    due_at = models.DateTimeField(db_index=True, help_text="When to look again, whatever else comes.")

    class Meta:
        verbose_name_plural = "held Stalwart outcomes"
        indexes = [models.Index(fields=["source", "span"], name="stalwart_held_by_span")]

    def __str__(self) -> str:
        return f"{self.span} until {self.due_at:%H:%M:%S}"


class UnusedEventType(models.Model):
    """A type of event that a source sends and nothing is made of, with how many came (repetitions included)."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE)
    name = models.CharField(max_length=100)
    count = models.BigIntegerField(default=0)
    first_at = models.DateTimeField(default=timezone.now)
    last_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["source", "name"]
        constraints = [models.UniqueConstraint(fields=["source", "name"], name="one_row_per_unused_type")]

    def __str__(self) -> str:
        return f"{self.name}: {self.count}"

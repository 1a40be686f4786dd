"""How long things are kept, and whose turn it is."""

from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone


class RetentionPolicy(models.Model):
    """One row per kind of data: how long it is kept."""

    what = models.CharField(max_length=40, primary_key=True, editable=False)
    keep = models.DurationField(help_text="Days and hours, for example “30 00:00:00”.")
    at_least = models.DurationField(default=timedelta(0), editable=False)
    title = models.CharField(max_length=200, editable=False)
    last_run_at = models.DateTimeField(null=True, editable=False)
    last_removed = models.BigIntegerField(default=0, editable=False)

    class Meta:
        verbose_name_plural = "retention policies"
        ordering = ["what"]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        """Refuse to keep less than what correctness needs (receipts: the longest retry of any source)."""
        if self.keep is not None and self.keep < self.at_least:
            raise ValidationError({"keep": f"Keep at least {self.at_least}: less would break what depends on it."})


class Lease(models.Model):
    """A task's turn: whoever changes the row may work until the lease runs out; others skip this tick."""

    name = models.CharField(max_length=100, primary_key=True)
    held_until = models.DateTimeField(default=timezone.now)
    holder = models.CharField(max_length=100, blank=True)
    last_started_at = models.DateTimeField(null=True)
    last_finished_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, blank=True)
    runs = models.BigIntegerField(default=0)
    failures = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return self.name

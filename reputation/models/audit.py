"""What people and the automation did, and why. Rows are written once and never edited."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from reputation.models.standing import STATUSES

AUTOMATED = "automated"


class AuditEntry(models.Model):
    """One change of standing, or one act of a person."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    sending_ip = models.GenericIPAddressField("sending IP", null=True, blank=True)
    subject = models.CharField(max_length=255, blank=True, help_text="What it was about, where it was not an IP.")
    action = models.CharField(max_length=40)
    previous = models.CharField(max_length=40, blank=True)
    new = models.CharField(max_length=40, blank=True)
    reason = models.TextField(blank=True)
    triggered_by = models.CharField(max_length=150, help_text="“automated” or the user's name at that time.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    metadata = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name_plural = "audit log"
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["sending_ip", "at"], name="audit_by_ip"),
            models.Index(fields=["subject", "at"], name="audit_by_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.sending_ip or self.subject} {self.action}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; a row that exists cannot be changed."""
        if not self._state.adding:
            raise TypeError("An audit row is never edited.")
        super().save(*args, **kwargs)


class Override(models.Model):
    """A person's word on an IP's status; beats the automation until it expires or is lifted."""

    sending_ip = models.GenericIPAddressField("sending IP")
    kind = models.CharField(
        max_length=12, choices=[("quarantine", "quarantine"), ("release", "release"), ("override", "override")]
    )
    status = models.CharField(max_length=12, choices=STATUSES)
    reason = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="overrides_made"
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: until it is lifted.")
    ended_at = models.DateTimeField(null=True, blank=True, editable=False)
    ended_by = models.CharField(max_length=150, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["sending_ip"], condition=Q(ended_at__isnull=True), name="one_standing_override_per_ip"
            )
        ]
        indexes = [models.Index(fields=["expires_at"], condition=Q(ended_at__isnull=True), name="override_expiry")]

    def __str__(self) -> str:
        return f"{self.sending_ip} {self.status}"

"""What every kind of policy keeps of itself: each version, who made it so, and why."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone


class Revision(models.Model):
    """A policy as it was from some moment on. A kind of policy adds the policy and that each number is there once."""

    revision = models.PositiveIntegerField()
    values = models.JSONField()
    reason = models.CharField(max_length=500, blank=True)
    changed_at = models.DateTimeField(default=timezone.now)
    changed_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)

    class Meta:
        abstract = True
        ordering = ["-changed_at", "-revision"]

    def __str__(self) -> str:
        return f"{getattr(self, 'policy_id', None)} revision {self.revision}"

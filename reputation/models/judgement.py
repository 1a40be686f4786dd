"""Whether the automation was right: what people say of its changes."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from reputation.models.audit import AuditEntry

VERDICTS = [("right", "right"), ("false_alarm", "false alarm")]


class Judgement(models.Model):
    """A person's verdict on one automatic change; taken back, the row is gone and the audit log tells of both.

    Time, action and revision are the change's own, copied: the rates are read from this table alone.
    """

    entry = models.OneToOneField(AuditEntry, on_delete=models.CASCADE, related_name="judgement")
    at = models.DateTimeField("of the change", db_index=True)
    action = models.CharField(max_length=40)
    policy_revision = models.PositiveIntegerField(null=True, blank=True)
    verdict = models.CharField(max_length=12, choices=VERDICTS)
    note = models.TextField(blank=True)
    judged_at = models.DateTimeField(default=timezone.now)
    judged_by = models.CharField(max_length=150, help_text="The user's name at that time.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)

    class Meta:
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.entry_id}: {self.get_verdict_display()}"

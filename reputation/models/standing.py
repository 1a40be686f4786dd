"""Where sending IPs and domains stand now, and how they stood."""

from __future__ import annotations

from django.db import models
from django.db.models import F
from django.utils import timezone

from reputation.domain.policy import Status

STATUSES = [(status.value, status.value) for status in Status]


class Standing(models.Model):
    """What one run found out about a sending IP."""

    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    total_sent = models.BigIntegerField(null=True, help_text="Messages; empty where the volume is unknown.")
    total_rejected = models.BigIntegerField()
    rejection_ratio = models.FloatField(
        null=True, help_text="Rejected / sent, 0 to 1; for display, rules compare exactly."
    )
    unique_recipient_domains = models.IntegerField()
    automatic_status = models.CharField(max_length=12, choices=STATUSES)
    status = models.CharField(max_length=12, choices=STATUSES, help_text="The override's where there is one.")
    rule = models.CharField(max_length=40)
    issue_type = models.CharField(max_length=40, blank=True)
    policy_revision = models.PositiveIntegerField(null=True)

    class Meta:
        abstract = True


class IpStanding(Standing):
    """The current standing of a sending IP."""

    sending_ip = models.GenericIPAddressField("sending IP", primary_key=True)
    since = models.DateTimeField(help_text="When the status last changed.")
    severity = models.SmallIntegerField(default=0, help_text="Of the status: 0 healthy to 3 blacklisted.")
    why = models.TextField()
    counts_by_code = models.JSONField(default=dict)
    major_providers = models.JSONField(default=list)
    recommendations = models.JSONField(default=list)
    metadata = models.JSONField(default=dict)
    computed_at = models.DateTimeField()

    class Meta:
        verbose_name = "IP standing"
        # SQLite and PostgreSQL disagree on where an unknown ratio sorts.
        ordering = ["-severity", F("rejection_ratio").desc(nulls_last=True), "sending_ip"]
        indexes = [models.Index(fields=["-severity", "sending_ip"], name="standing_worst_first")]

    def __str__(self) -> str:
        return f"{self.sending_ip} {self.status}"


class IpStandingHistory(Standing):
    """One row per run and IP."""

    sending_ip = models.GenericIPAddressField("sending IP")
    computed_at = models.DateTimeField()

    class Meta:
        verbose_name = "IP standing history row"
        verbose_name_plural = "IP standing history"
        ordering = ["-computed_at"]
        indexes = [
            models.Index(fields=["sending_ip", "computed_at"], name="ip_history_by_ip"),
            models.Index(fields=["computed_at"], name="ip_history_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.sending_ip} {self.status}"


class ScoreValues(models.Model):
    """A score and the numbers it is made of."""

    score = models.SmallIntegerField(null=True, help_text="0 to 100; empty until there was a delivery or bounce.")
    delivered = models.BigIntegerField(default=0)
    bounced = models.BigIntegerField(default=0)
    complained = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class SenderScore(ScoreValues):
    """The current score of a sending IP or domain over 24 hours: overall, and per mailbox provider."""

    kind = models.CharField(max_length=6, choices=[("ip", "sending IP"), ("domain", "sending domain")])
    name = models.CharField(max_length=255, help_text="The IP or domain.")
    provider = models.CharField("mailbox provider", max_length=60, blank=True, help_text="Empty: all of them.")
    deferred = models.BigIntegerField(default=0)
    penalties = models.JSONField(default=list)
    rates = models.JSONField(default=dict)
    confidence = models.CharField(max_length=10, blank=True)
    has_recent_mail = models.BooleanField(default=True)
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    computed_at = models.DateTimeField()
    first_seen_at = models.DateTimeField(default=timezone.now)
    history_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["score", "name", "provider"]
        constraints = [models.UniqueConstraint(fields=["kind", "name", "provider"], name="one_score_per_sender")]
        indexes = [models.Index(fields=["kind", "provider", "score"], name="score_worst_first")]

    def __str__(self) -> str:
        return f"{self.name} {self.provider or 'overall'}: {self.score}"


class SenderScoreHistory(ScoreValues):
    """A score as it was: one row at each change, and of the overall score one an hour while there is mail."""

    kind = models.CharField(max_length=6)
    name = models.CharField(max_length=255)
    provider = models.CharField("mailbox provider", max_length=60, blank=True)
    computed_at = models.DateTimeField()

    class Meta:
        verbose_name = "score history row"
        verbose_name_plural = "score history"
        ordering = ["-computed_at"]
        indexes = [
            models.Index(fields=["kind", "name", "provider", "computed_at"], name="score_history_by_sender"),
            models.Index(fields=["computed_at"], name="score_history_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.provider or 'overall'}: {self.score}"

"""Acting on it: what a pool's senders may send, the counted caps, and the record of what was answered."""

from __future__ import annotations

from typing import Any

from django.core.validators import MinValueValidator
from django.db import models

from reputation.domain.sending_policy import Mode, OnFailure
from reputation.models.policy import Pool
from reputation.models.revision import Revision

_ONE = MinValueValidator(1)
MODES = [(mode.value, mode.value) for mode in Mode]


class SendingPolicy(models.Model):
    """What one pool's senders may send, and whether the answer binds; the default pool's holds for everybody else."""

    pool = models.OneToOneField(Pool, on_delete=models.CASCADE, related_name="sending_policy")
    mode = models.CharField(
        max_length=10,
        choices=MODES,
        default=Mode.OBSERVE.value,
        help_text="Observe: everything passes, what would have been held back is counted. Warn: it is logged as a "
        "warning too, here and by the mail server. Enforce: it is held back.",
    )
    on_failure = models.CharField(
        "when we cannot know",
        max_length=10,
        choices=[(word.value, word.value) for word in OnFailure],
        default=OnFailure.OPEN.value,
        help_text="Open: mail passes while the database or Redis is away. Closed: it is deferred.",
    )
    ip_limit_per_hour = models.PositiveIntegerField(
        "limit per sending IP and hour",
        null=True,
        blank=True,
        validators=[_ONE],
        help_text="Recipients; multiplied by score / 100. Empty: none.",
    )
    domain_limit_per_hour = models.PositiveIntegerField(
        "limit per sending domain and hour",
        null=True,
        blank=True,
        validators=[_ONE],
        help_text="Recipients; multiplied by score / 100. Empty: none.",
    )
    least_per_hour = models.PositiveIntegerField(
        default=10, validators=[_ONE], help_text="No score above 0 brings such a limit below this."
    )
    probe_per_hour = models.PositiveIntegerField(
        default=10,
        validators=[_ONE],
        help_text="A half-open breaker lets at least so many recipients an hour through, or nothing could be judged.",
    )
    provider_limits_on = models.BooleanField(
        "limits per mailbox provider", default=False, help_text="Whether the numbers below apply."
    )
    revision = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        verbose_name_plural = "sending policies"
        ordering = ["pool__name"]
        permissions = [("ask_permits", "Can ask for permits")]

    def __str__(self) -> str:
        return f"{self.pool} sending (revision {self.revision})"


class ProviderLimit(models.Model):
    """How many recipients at one mailbox provider a sending IP may reach an hour and a day."""

    policy = models.ForeignKey(SendingPolicy, on_delete=models.CASCADE, related_name="provider_limits")
    provider = models.CharField(
        "mailbox provider", max_length=60, blank=True, help_text="Its id. Empty: each one that is not named."
    )
    per_hour = models.PositiveIntegerField(null=True, blank=True, validators=[_ONE], help_text="Empty: none.")
    per_day = models.PositiveIntegerField(null=True, blank=True, validators=[_ONE], help_text="Empty: none.")

    class Meta:
        ordering = ["provider"]
        constraints = [models.UniqueConstraint(fields=["policy", "provider"], name="one_limit_per_policy_and_provider")]

    def __str__(self) -> str:
        return f"{self.provider or 'other'}: {self.per_hour or 'any'} an hour, {self.per_day or 'any'} a day"


class SendingPolicyRevision(Revision):
    """A sending policy as it was from some moment on, and who made it so."""

    policy = models.ForeignKey(SendingPolicy, on_delete=models.CASCADE, related_name="revisions")

    class Meta(Revision.Meta):
        constraints = [
            models.UniqueConstraint(fields=["policy", "revision"], name="one_row_per_sending_policy_revision")
        ]


class PoolDomain(models.Model):
    """A sending domain whose mail leaves by a pool other than the default one."""

    domain = models.CharField("sending domain", max_length=255, primary_key=True)
    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="domains")

    class Meta:
        ordering = ["domain"]

    def __str__(self) -> str:
        return f"{self.domain} by {self.pool}"


class Budget(models.Model):
    """How much of one cap is spent in one hour or day. Whoever spends holds the row's lock, so a cap is exact."""

    key = models.CharField(max_length=400, primary_key=True, editable=False)
    rule = models.CharField(max_length=20)
    kind = models.CharField(max_length=6)
    sender = models.CharField(max_length=255)
    provider = models.CharField("mailbox provider", max_length=60, blank=True)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(db_index=True)
    limit = models.PositiveBigIntegerField(help_text="As it was when last asked.")
    spent = models.PositiveBigIntegerField(default=0, help_text="Recipients.")

    class Meta:
        ordering = ["-starts_at", "key"]
        indexes = [models.Index(fields=["kind", "sender", "starts_at"], name="budget_by_sender")]

    def __str__(self) -> str:
        return f"{self.sender}: {self.spent} of {self.limit}"


class PermitMinute(models.Model):
    """What was asked and answered in one minute. Where nothing held mail back, by pool only."""

    id = models.BigAutoField(primary_key=True)
    minute = models.DateTimeField()
    pool = models.CharField(max_length=100)
    mode = models.CharField(max_length=10, choices=MODES)
    action = models.CharField("rules say", max_length=10)
    rule = models.CharField(max_length=20)
    sending_domain = models.CharField(max_length=255, blank=True)
    sending_ip = models.CharField("sending IP", max_length=45, blank=True)
    provider = models.CharField("mailbox provider", max_length=60, blank=True)
    asks = models.PositiveBigIntegerField()
    recipients = models.PositiveBigIntegerField()
    reason = models.CharField(max_length=500, blank=True, help_text="Of the last of them.")

    class Meta:
        ordering = ["-minute", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=[
                    "minute",
                    "pool",
                    "mode",
                    "action",
                    "rule",
                    "sending_domain",
                    "sending_ip",
                    "provider",
                ],
                name="one_row_per_minute_of_permits",
            )
        ]

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M} {self.action} by {self.rule}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Only the recorder writes, by one statement for many rows."""
        raise TypeError("Permits are recorded by reputation.permit_record.")

    @property
    def was_held_back(self) -> bool:
        """Whether the mail server was told to wait."""
        return self.mode == Mode.ENFORCE and self.action != "allow"

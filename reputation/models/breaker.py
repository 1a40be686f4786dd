"""Circuit breakers: the current row of each scope, every transition, and the policies they go by."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from reputation.domain.breaker_policy import Scope, State, Trigger
from reputation.models.policy import Pool, ratio_field
from reputation.models.revision import Revision

STATES = [(state.value, state.value.replace("_", "-")) for state in State]
TRIGGERS = [(trigger.value, trigger.value.replace("_", " ")) for trigger in Trigger]
_HOUR = timedelta(hours=1)
_SECOND = MinValueValidator(timedelta(seconds=1))


class Breaker(models.Model):
    """How a scope stands now; a scope that never left "closed" has no row.

    Whoever changes a row does so where `version` is still what was read, and writes the event in the same transaction.
    """

    kind = models.CharField(max_length=6, choices=[("ip", "sending IP"), ("domain", "sending domain")])
    sender = models.CharField(max_length=255, help_text="The IP or domain.")
    provider = models.CharField("mailbox provider", max_length=60, blank=True, help_text="Empty: all of them.")
    state = models.CharField(max_length=10, choices=STATES, default=State.CLOSED.value)
    since = models.DateTimeField(default=timezone.now, help_text="When this state or step began.")
    step = models.PositiveSmallIntegerField(default=0, help_text="1 to 3 while half-open.")
    pauses = models.PositiveIntegerField(default=0, help_text="Since the last 24 healthy hours.")
    paused_at = models.DateTimeField(null=True, blank=True, help_text="When it last left “closed”.")
    reopen_at = models.DateTimeField(null=True, blank=True, help_text="When the next probe is due.")
    trigger = models.CharField(max_length=20, choices=TRIGGERS, blank=True, help_text="What opened it last.")
    reason = models.TextField(blank=True, help_text="Why it is as it is.")
    held = models.BooleanField(default=False, help_text="A person decided; the automation waits.")
    held_until = models.DateTimeField(null=True, blank=True, help_text="Empty: until a person decides anew.")
    held_resumes = models.CharField(max_length=10, choices=STATES, blank=True, editable=False)
    held_by = models.CharField(max_length=150, blank=True)
    version = models.PositiveBigIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["-since", "-id"]
        constraints = [models.UniqueConstraint(fields=["kind", "sender", "provider"], name="one_breaker_per_scope")]
        indexes = [
            models.Index(fields=["state", "reopen_at"], condition=~Q(state="closed"), name="breaker_not_closed"),
            models.Index(fields=["held_until"], condition=Q(held=True), name="breaker_hold_ends"),
        ]

    def __str__(self) -> str:
        return f"{self.scope}: {self.get_state_display()}"

    @property
    def scope(self) -> Scope:
        """What it breaks."""
        return Scope("ip" if self.kind == "ip" else "domain", self.sender, self.provider)


class BreakerEvent(models.Model):
    """One transition of a breaker. Rows are written once and never edited: history, audit and outbox in one."""

    breaker = models.ForeignKey(Breaker, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(default=timezone.now, db_index=True)
    from_state = models.CharField("from", max_length=10, choices=STATES)
    to_state = models.CharField("to", max_length=10, choices=STATES)
    step = models.PositiveSmallIntegerField(default=0)
    trigger = models.CharField(max_length=20, choices=TRIGGERS)
    value = models.FloatField(null=True, blank=True, help_text="A rate from 0 to 1, or refusals in a row.")
    threshold = models.FloatField(null=True, blank=True)
    volume = models.BigIntegerField(null=True, blank=True, help_text="The rate's denominator.")
    bound = models.FloatField(null=True, blank=True, help_text="Lower confidence bound of the rate.")
    evidence = models.JSONField(default=dict, blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)
    resumed_at = models.DateTimeField(null=True, blank=True, help_text="Filled where mail flows in full again.")
    reopen_at = models.DateTimeField(null=True, blank=True)
    automated = models.BooleanField(default=True)
    triggered_by = models.CharField(max_length=150, help_text="“automated” or the user's name at that time.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    policy_revision = models.PositiveIntegerField(null=True, blank=True)
    notes = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["breaker", "id"], name="breaker_event_by_breaker")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.from_state} → {self.to_state}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; a row that exists cannot be changed."""
        if not self._state.adding:
            raise TypeError("A breaker event is never edited.")
        super().save(*args, **kwargs)


class BreakerPolicy(models.Model):
    """When the breakers of one pool open and how they close; the default pool's holds for sending domains too."""

    pool = models.OneToOneField(Pool, on_delete=models.CASCADE, related_name="breaker_policy")
    enabled = models.BooleanField(
        default=True, help_text="Switched off, breakers that opened by themselves close and none opens."
    )
    window = models.DurationField(
        default=24 * _HOUR,
        validators=[MinValueValidator(timedelta(minutes=5)), MaxValueValidator(24 * _HOUR)],
        help_text="Over which the rates are taken, 24 hours by default and at most.",
    )
    minimum_volume = models.PositiveIntegerField(
        default=100, validators=[MinValueValidator(1)], help_text="Below this denominator a rate says nothing."
    )
    complaint_rate_above = ratio_field("0.001", "Complaints over delivered messages.")
    complaints_from = models.PositiveIntegerField(
        default=3, validators=[MinValueValidator(1)], help_text="Fewer complaints than this open nothing."
    )
    bounce_rate_above = ratio_field("0.1", "Bounced over delivered and bounced messages.")
    confidence = models.DecimalField(
        max_digits=4,
        decimal_places=3,
        default=Decimal("0.95"),
        validators=[MinValueValidator(Decimal("0.5")), MaxValueValidator(Decimal("0.999"))],
        help_text="The lower bound of the rate at this confidence (0.5 to 0.999) must lie above the threshold.",
    )
    block_refusals = models.PositiveIntegerField(
        default=3,
        validators=[MinValueValidator(1), MaxValueValidator(10)],
        help_text="So many policy or reputation refusals in a row at one major provider are a block.",
    )
    block_within = models.DurationField(
        default=6 * _HOUR,
        validators=[MinValueValidator(timedelta(minutes=1)), MaxValueValidator(24 * _HOUR)],
        help_text="Refusals further back than this begin no row.",
    )
    first_pause = models.DurationField(default=_HOUR, validators=[_SECOND], help_text="Doubled at each failed resume …")
    longest_pause = models.DurationField(default=8 * _HOUR, validators=[_SECOND], help_text="… up to this.")
    healthy_after = models.DurationField(
        default=24 * _HOUR, validators=[_SECOND], help_text="Closed for so long, the next pause is the first again."
    )
    step_1_share = ratio_field("0.05", "Of the normal limit, in the first step of resuming …")
    step_2_share = ratio_field("0.25", "… the second …")
    step_3_share = ratio_field("0.5", "… and the third.")
    step_minimum = models.PositiveIntegerField(
        default=50, validators=[MinValueValidator(1)], help_text="Delivered and bounced messages that a step needs."
    )
    block_step_minimum = models.PositiveIntegerField(
        default=10,
        validators=[MinValueValidator(1)],
        help_text="The same after a provider's block; one at least must be delivered.",
    )
    revision = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        verbose_name_plural = "breaker policies"
        ordering = ["pool__name"]

    def __str__(self) -> str:
        return f"{self.pool} breakers (revision {self.revision})"


class BreakerPolicyRevision(Revision):
    """A breaker policy as it was from some moment on, and who made it so."""

    policy = models.ForeignKey(BreakerPolicy, on_delete=models.CASCADE, related_name="revisions")

    class Meta(Revision.Meta):
        constraints = [
            models.UniqueConstraint(fields=["policy", "revision"], name="one_row_per_breaker_policy_revision")
        ]

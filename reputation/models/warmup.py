"""Warm-ups: templates, the current row of each, every transition, and the policies they go by."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from reputation.domain.warmup import Schedule, Unit, from_shares, is_time_zone
from reputation.domain.warmup_policy import Found, OnDetection, State, Step
from reputation.models.policy import Pool, ratio_field
from reputation.models.revision import Revision
from reputation.models.standing import STATUSES

KINDS = [("ip", "sending IP"), ("domain", "sending domain")]
STATES = [(state.value, state.value) for state in State]
STEPS = [(step.value, step.value.replace("_", " ")) for step in Step]
UNITS = [(Unit.DAY.value, "a day"), (Unit.HOUR.value, "an hour")]
_DAY = timedelta(days=1)
_ONE_DAY = MinValueValidator(_DAY)
DEFAULT_TEMPLATE = "default"


def valid_time_zone(value: str) -> None:
    """Raise unless the IANA database knows this name."""
    if not is_time_zone(value):
        raise ValidationError("Use a name of the IANA database, such as Europe/Berlin.")


class WarmupTemplate(models.Model):
    """A schedule to start warm-ups by: recipients by day, or percent of the full volume by mailbox provider."""

    name = models.CharField(max_length=60, unique=True)
    description = models.TextField(blank=True)
    source = models.CharField(max_length=300, blank=True, help_text="Where the numbers come from.")
    unit = models.CharField("recipients", max_length=4, choices=UNITS, default=Unit.DAY.value)
    amounts = models.JSONField(
        default=list, blank=True, help_text="Recipients on each day, from the first: [100, 200, 500]."
    )
    provider_amounts = models.JSONField(
        default=dict,
        blank=True,
        help_text="Where a mailbox provider gets less: its id and as many numbers: {“yahoo”: [50, 100, 200]}.",
    )
    provider_shares = models.JSONField(
        default=dict,
        blank=True,
        help_text="Instead of recipients: percent of the full volume, which is asked for at each start.",
    )
    builtin = models.BooleanField("built-in", default=False, editable=False)

    class Meta:
        verbose_name = "warm-up template"
        ordering = ["-builtin", "name"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_in_percent(self) -> bool:
        """Whether a start needs the sender's full volume."""
        return bool(self.provider_shares)

    @property
    def days(self) -> int:
        """How many days it has."""
        return len(next(iter(self.provider_shares.values()))) if self.is_in_percent else len(self.amounts)

    def schedule(self, full_volume: int | None = None) -> Schedule:
        """The numbers to warm up by. Raises ValueError for numbers that cannot be meant."""
        if self.is_in_percent:
            return from_shares(self.provider_shares, full_volume or 0, Unit(self.unit))
        return schedule_of(self.amounts, self.unit, self.provider_amounts)

    def clean(self) -> None:
        """Refuse numbers that cannot be meant."""
        if bool(self.amounts) == bool(self.provider_shares):
            raise ValidationError("Give either recipients by day or percent by mailbox provider.")
        try:
            self.schedule(full_volume=1)
        except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
            field = "provider_shares" if self.is_in_percent else "amounts"
            raise ValidationError({field: f"{str(error).capitalize()}."}) from None


def schedule_of(amounts: Any, unit: str, providers: Any) -> Schedule:
    """Stored numbers as the pure value. Raises ValueError for what cannot be meant."""
    rows = [amounts, *providers.values()] if isinstance(providers, dict) else [None]
    if any(not isinstance(row, list) or any(type(number) is not int for number in row) for row in rows):
        raise ValueError("give whole numbers, one for each day")
    return Schedule(tuple(amounts), Unit(unit), {name: tuple(row) for name, row in providers.items()})


class Warmup(models.Model):
    """How a sender's warm-up stands. Its numbers were copied at the start: no edit of a template changes them.

    Whoever changes a row does so where `version` is still what was read, and writes the event in the same transaction.
    """

    kind = models.CharField(max_length=6, choices=KINDS)
    sender = models.CharField(max_length=255, help_text="The IP or domain.")
    state = models.CharField(max_length=10, choices=STATES, default=State.PROPOSED.value)
    found = models.CharField(
        max_length=20,
        choices=[(word.value, word.value.replace("_", " ")) for word in Found],
        blank=True,
        help_text="Why it was detected; empty: a person began it.",
    )
    template = models.CharField(max_length=60, blank=True, help_text="Empty: numbers of its own.")
    unit = models.CharField("recipients", max_length=4, choices=UNITS, default=Unit.DAY.value)
    amounts = models.JSONField(default=list)
    provider_amounts = models.JSONField(default=dict, blank=True)
    time_zone = models.CharField(max_length=64, default="UTC")
    day = models.PositiveSmallIntegerField(default=1)
    on_date = models.DateField(null=True, blank=True, help_text="The local date that the day belongs to.")
    last_used_on = models.DateField(null=True, blank=True, editable=False)
    judged_at = models.DateTimeField("judged from", null=True, blank=True, help_text="When that date has ended.")
    reason = models.TextField(blank=True, help_text="Why it is as it is.")
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True, db_index=True)
    version = models.PositiveBigIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = "warm-up"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "sender"], condition=Q(ended_at__isnull=True), name="one_warmup_per_sender"
            )
        ]
        indexes = [
            models.Index(fields=["judged_at"], condition=Q(state="running"), name="warmup_midnight"),
            models.Index(fields=["kind", "sender", "-id"], name="warmup_by_sender"),
        ]

    def __str__(self) -> str:
        return f"{self.sender}: day {self.day} of {self.days}" if self.state == State.RUNNING else self.sender

    @property
    def schedule(self) -> Schedule:
        """Its own numbers."""
        return schedule_of(self.amounts, self.unit, self.provider_amounts)

    @property
    def days(self) -> int:
        """How many days it has."""
        return len(self.amounts)

    @property
    def limit(self) -> int:
        """Recipients of the current day, or of each hour of it."""
        return int(self.amounts[self.day - 1])


class WarmupEvent(models.Model):
    """One transition of a warm-up. Rows are written once and never edited: history, audit and outbox in one."""

    warmup = models.ForeignKey(Warmup, on_delete=models.CASCADE, related_name="events", verbose_name="warm-up")
    at = models.DateTimeField(default=timezone.now, db_index=True)
    step = models.CharField(max_length=12, choices=STEPS)
    from_state = models.CharField("from", max_length=10, choices=STATES, blank=True, help_text="Empty: there was none.")
    to_state = models.CharField("to", max_length=10, choices=STATES)
    from_day = models.PositiveSmallIntegerField()
    to_day = models.PositiveSmallIntegerField()
    on_date = models.DateField(null=True, blank=True, help_text="The local date that was judged.")
    used = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Recipients; where planned by the hour, of the busiest hour."
    )
    planned = models.PositiveBigIntegerField(null=True, blank=True)
    standing = models.CharField(
        max_length=12, choices=STATUSES, blank=True, help_text="The worst of that day; empty: not judged."
    )
    automated = models.BooleanField(default=True)
    triggered_by = models.CharField(max_length=150, help_text="“automated” or the user's name at that time.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    policy_revision = models.PositiveIntegerField(null=True, blank=True)
    notes = models.TextField(blank=True)

    class Meta:
        verbose_name = "warm-up event"
        ordering = ["-id"]
        indexes = [models.Index(fields=["warmup", "id"], name="warmup_event_by_warmup")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.get_step_display()}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; a row that exists cannot be changed."""
        if not self._state.adding:
            raise TypeError("A warm-up event is never edited.")
        super().save(*args, **kwargs)


class WarmupPolicy(models.Model):
    """How the senders of one pool warm up; the default pool's holds for sending domains too."""

    pool = models.OneToOneField(Pool, on_delete=models.CASCADE, related_name="warmup_policy")
    enabled = models.BooleanField(
        default=True, help_text="Switched off, nothing is detected, limited or judged; what runs stays where it is."
    )
    on_detection = models.CharField(
        max_length=10,
        choices=[(word.value, word.value) for word in OnDetection],
        default=OnDetection.PROPOSE.value,
        help_text="What becomes of a new or idle sender: nothing, a proposal to confirm, or a warm-up at once.",
    )
    ip_template = models.ForeignKey(
        WarmupTemplate,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name="template for IPs",
        help_text="By which new and idle sending IPs warm up; not one in percent.",
    )
    domain_template = models.ForeignKey(
        WarmupTemplate,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name="template for domains",
        help_text="The same for cold sending domains.",
    )
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        validators=[valid_time_zone],
        help_text="Whose midnight ends a day, such as Europe/Berlin. What runs keeps the one it was started with.",
    )
    advance_share = ratio_field("0.8", "Of a day's volume: used less than this, the day is held.")
    new_ip_within = models.DurationField(
        "an IP is new for",
        default=7 * _DAY,
        validators=[_ONE_DAY],
        help_text="A sending IP that was first seen within this time is new.",
    )
    domain_idle = models.DurationField(
        "a domain is idle after",
        default=30 * _DAY,
        validators=[_ONE_DAY],
        help_text="A sending domain without mail for so long is cold …",
    )
    domain_messages_below = models.PositiveIntegerField(
        "a domain is cold under", default=100, help_text="… and so is one with fewer messages than this in that time."
    )
    rewarm_after = models.DurationField(
        "warm up again after",
        default=30 * _DAY,
        validators=[_ONE_DAY],
        help_text="Without mail for so long, a sending IP is idle, and a warm-up that runs begins anew.",
    )
    revision = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        verbose_name = "warm-up policy"
        verbose_name_plural = "warm-up policies"
        ordering = ["pool__name"]

    def __str__(self) -> str:
        return f"{self.pool} warm-up (revision {self.revision})"

    def clean(self) -> None:
        """Detection knows nobody's full volume."""
        for name in ("ip_template", "domain_template"):
            template = getattr(self, name, None) if getattr(self, f"{name}_id") else None
            if template is not None and template.is_in_percent:
                raise ValidationError({name: "This template is in percent: it needs each sender's full volume."})


class WarmupPolicyRevision(Revision):
    """A warm-up policy as it was from some moment on, and who made it so."""

    policy = models.ForeignKey(WarmupPolicy, on_delete=models.CASCADE, related_name="revisions")

    class Meta(Revision.Meta):
        verbose_name = "warm-up policy revision"
        constraints = [
            models.UniqueConstraint(fields=["policy", "revision"], name="one_row_per_warmup_policy_revision")
        ]

"""Alerts: what is wrong now, who is told of it by which rule, and every attempt to tell."""

from __future__ import annotations

import zoneinfo
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from reputation.domain.alerting import TITLES, Kind, Match, News, QuietHours, Severity, State, SubjectKind
from reputation.models.policy import Pool
from telemetry.secrets import decrypt, encrypt

_PURPOSE = "alert-channel"
KINDS = [(kind.value, TITLES[kind]) for kind in Kind]
SEVERITIES = [(severity.value, severity.value) for severity in Severity]
STATES = [(state.value, state.value) for state in State]
SUBJECT_KINDS = [(kind.value, kind.value) for kind in SubjectKind]
NEWS = [(news.value, news.value) for news in News]
LONGEST_SENTENCE = 1_000


def valid_zone(value: str) -> None:
    """Raise unless this is a time zone's name."""
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationError(f"{value!r} is no time zone, such as Europe/Berlin.") from None


class AlertChannel(models.Model):
    """A way to reach somebody. Its address holds secrets and is kept encrypted."""

    name = models.CharField(max_length=60, unique=True)
    url_sealed = models.TextField(editable=False)
    scheme = models.CharField("way", max_length=30, editable=False, help_text="What its address begins with.")
    key_sealed = models.TextField(blank=True, editable=False)
    is_enabled = models.BooleanField("enabled", default=True, help_text="Nothing is sent to a channel that is not.")
    is_default = models.BooleanField(
        "used by default", default=True, help_text="Rules that name no channel use it. Switch it off for escalations."
    )
    last_ok_at = models.DateTimeField("last sent", null=True, blank=True, editable=False)
    last_failed_at = models.DateTimeField("last failed", null=True, blank=True, editable=False)
    last_error = models.CharField(max_length=40, blank=True, editable=False, help_text="Empty while it works.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def url(self) -> str:
        """Its address, secrets included: never shown, never logged."""
        return decrypt(_PURPOSE, self.url_sealed)

    @url.setter
    def url(self, url: str) -> None:
        self.url_sealed = encrypt(_PURPOSE, url)
        self.scheme = url.partition("://")[0].lower()[:30]

    @property
    def key(self) -> str:
        """What a webhook's bodies are signed with; empty: they are not."""
        return decrypt(_PURPOSE, self.key_sealed)

    @key.setter
    def key(self, key: str) -> None:
        self.key_sealed = encrypt(_PURPOSE, key)


class AlertRule(models.Model):
    """Who is told of which alerts."""

    name = models.CharField(max_length=60, unique=True)
    kind = models.CharField(max_length=20, choices=KINDS, blank=True, help_text="Empty: every kind.")
    least_severity = models.CharField("from", max_length=8, choices=SEVERITIES, default=Severity.WARNING.value)
    subject = models.CharField(
        max_length=255, blank=True, help_text="Of whom, with * and ?: 192.0.2.*, *.example.com. Empty: everybody."
    )
    pool = models.ForeignKey(
        Pool, null=True, blank=True, on_delete=models.CASCADE, help_text="Only sending IPs of this pool."
    )
    channels = models.ManyToManyField(
        AlertChannel, blank=True, related_name="rules", help_text="None: every channel that is used by default."
    )
    quiet_from = models.TimeField(null=True, blank=True, help_text="What is not critical waits from here …")
    quiet_to = models.TimeField(null=True, blank=True, help_text="… to here, and is not sent if it is over by then.")
    zone = models.CharField("time zone", max_length=60, default="UTC", validators=[valid_zone])
    escalate_after = models.PositiveIntegerField(
        "escalate after",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(7 * 24 * 60)],
        help_text="Minutes after which an alert that nobody acknowledged goes to the channels below too. Empty: never.",
    )
    escalation_channels = models.ManyToManyField(AlertChannel, blank=True, related_name="escalations")
    is_enabled = models.BooleanField("enabled", default=True)
    builtin = models.BooleanField("shipped", default=False, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Quiet hours have both ends."""
        if (self.quiet_from is None) != (self.quiet_to is None):
            raise ValidationError({"quiet_to": "Quiet hours have a beginning and an end, or neither."})
        if self.quiet_from is not None and self.quiet_from == self.quiet_to:
            raise ValidationError({"quiet_to": "This is where they begin."})

    @property
    def quiet_hours(self) -> QuietHours | None:
        """When only what is critical is sent."""
        if self.quiet_from is None or self.quiet_to is None:
            return None
        return QuietHours(self.quiet_from, self.quiet_to, self.zone)

    def match(self, pool_ips: frozenset[str] | None) -> Match:
        """Whom it is for, as a value."""
        return Match(kind=self.kind, least=Severity(self.least_severity), subject=self.subject, pool_ips=pool_ips)


class Alert(models.Model):
    """Something that is wrong, from its first signal to its end. Of a key at most one is not resolved.

    Whoever changes a row does so where `version` is still what was read, and writes the event in the same transaction.
    """

    kind = models.CharField(max_length=20, choices=KINDS)
    subject = models.CharField(max_length=255)
    subject_kind = models.CharField(max_length=6, choices=SUBJECT_KINDS)
    key = models.CharField(max_length=400, editable=False)
    severity = models.CharField(max_length=8, choices=SEVERITIES)
    state = models.CharField(max_length=12, choices=STATES, default=State.OPEN.value)
    sentence = models.CharField("what happened", max_length=LONGEST_SENTENCE)
    evidence = models.JSONField(default=dict, blank=True)
    link = models.CharField(max_length=300, blank=True)
    count = models.PositiveIntegerField("times", default=1)
    opened_at = models.DateTimeField()
    last_at = models.DateTimeField("last seen")
    signal_at = models.DateTimeField(editable=False, help_text="Of the newest signal taken into account.")
    lasts = models.BooleanField(default=False, editable=False, help_text="Resolved by hand while it goes on.")
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=150, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=150, blank=True, help_text="“automated” or the user's name.")
    version = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["key"], condition=~Q(state="resolved"), name="one_standing_alert_per_key")
        ]
        indexes = [
            models.Index(fields=["key", "id"], name="alert_by_key"),
            models.Index(fields=["subject", "id"], name="alert_by_subject"),
            models.Index(fields=["kind"], condition=~Q(state="resolved") | Q(lasts=True), name="alert_standing"),
            models.Index(fields=["opened_at"], name="alert_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.subject}: {self.get_kind_display()} ({self.state})"


class AlertEvent(models.Model):
    """What became of an alert. Rows are written once and never edited."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(default=timezone.now, db_index=True)
    news = models.CharField("what", max_length=12, choices=NEWS)
    severity = models.CharField(max_length=8, choices=SEVERITIES)
    sentence = models.CharField(max_length=LONGEST_SENTENCE, blank=True)
    triggered_by = models.CharField(max_length=150)
    note = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["alert", "id"], name="alert_event_by_alert")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.news}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; a row that exists cannot be changed."""
        if not self._state.adding:
            raise TypeError("An alert event is never edited.")
        super().save(*args, **kwargs)


class AlertDelivery(models.Model):
    """One event on its way to one channel; the attempts are counted, and the last one's outcome is kept.

    Whoever sends holds the row's claim, taken by a conditional update; only who holds it writes the outcome.
    """

    WAITING, SENT, FAILED, DROPPED = "waiting", "sent", "failed", "dropped"
    STATES = [
        (WAITING, "waiting"),
        (SENT, "sent"),
        (FAILED, "given up"),
        (DROPPED, "not needed any more"),
    ]

    event = models.ForeignKey(AlertEvent, on_delete=models.CASCADE, related_name="deliveries")
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    channel = models.ForeignKey(AlertChannel, on_delete=models.CASCADE, related_name="deliveries")
    rule = models.ForeignKey(AlertRule, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    kind = models.CharField(max_length=20, choices=KINDS, editable=False)
    news = models.CharField(max_length=12, choices=NEWS)
    state = models.CharField(max_length=8, choices=STATES, default=WAITING)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    due_at = models.DateTimeField(default=timezone.now)
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.CharField("last error", max_length=40, blank=True, help_text="Its class; never an address.")
    sent_at = models.DateTimeField(null=True, blank=True)
    message = models.CharField(max_length=36, blank=True, editable=False, help_text="What went out together.")
    claim = models.CharField(max_length=36, blank=True, editable=False)
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name_plural = "alert deliveries"
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["event", "channel"], name="one_delivery_per_event_and_channel")]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(state="waiting"), name="alert_delivery_due"),
            models.Index(fields=["channel", "kind", "sent_at"], name="alert_delivery_last"),
        ]

    def __str__(self) -> str:
        return f"{self.news} to {self.channel_id}: {self.state}"

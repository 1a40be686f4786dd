"""Audits of sending IPs and domains: what is known of each, when it is due, and every report."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone

from reputation.domain.audit.findings import Finding
from telemetry.domain.clean import domain as clean_domain
from telemetry.domain.clean import ip as clean_ip
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import UNKNOWN_IP

KINDS = [("ip", "sending IP"), ("domain", "sending domain")]
REASONS = [
    ("weekly", "weekly"),
    ("asked", "asked for"),
    ("causes", "refusals for authentication or DNS"),
]
MOST_NAMES = 20


def valid_name(value: Any) -> None:
    """Raise unless the value is a host or domain name in its canonical form."""
    try:
        found = clean_domain(value, "")
    except (ParseError, AttributeError):
        found = ""
    if not found or found != value or value.startswith("["):
        raise ValidationError(f"{str(value)[:100]!r} is not a name in lower case, such as mail.example.com.")


def valid_selectors(value: Any) -> None:
    """Raise unless the value is a list of selectors, each alone or as selector@domain."""
    for entry in _entries(value, "[“s2026”, “mail@esp.example”]"):
        selector, at, domain = entry.partition("@")
        valid_name(selector)
        if at:
            valid_name(domain)


def valid_names(value: Any) -> None:
    """Raise unless the value is a list of host names."""
    for entry in _entries(value, "[“mail.example.com”]"):
        valid_name(entry)


def _entries(value: Any, example: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value) or len(value) > MOST_NAMES:
        raise ValidationError(f"Give a JSON list of at most {MOST_NAMES}, such as {example}.")
    return value


class AuditTarget(models.Model):
    """A sending IP or domain that is audited: what people told about it, when it is due, its last score.

    Whoever audits it claims the row by a conditional update, so that no two do at once.
    """

    kind = models.CharField(max_length=6, choices=KINDS)
    name = models.CharField(max_length=255, help_text="The IP or domain.")
    dkim_selectors = models.JSONField(
        "DKIM selectors",
        default=list,
        blank=True,
        validators=[valid_selectors],
        help_text="Of a domain: those its mail is signed with, such as “s2026”; “s1@esp.example” where d= is another.",
    )
    envelope_domain = models.CharField(
        max_length=253,
        blank=True,
        validators=[valid_name],
        help_text="Of a domain: the one of its envelope senders (bounces), which SPF is about. Empty: itself.",
    )
    helo_names = models.JSONField(
        "EHLO names",
        default=list,
        blank=True,
        validators=[valid_names],
        help_text="Of an IP: the host names that its server says in EHLO.",
    )
    may_probe = models.BooleanField(
        "may be probed",
        default=True,
        help_text="Whether its MX hosts may be asked over SMTP. Nothing is, unless GS_AUDIT_SMTP_PROBE is on.",
    )
    due_at = models.DateTimeField(default=timezone.now, editable=False, help_text="When the next weekly audit is due.")
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)
    by_causes_at = models.DateTimeField(
        "last audited for its refusals", null=True, blank=True, editable=False, help_text="At most every six hours."
    )
    audited_at = models.DateTimeField("last audited", null=True, blank=True, editable=False)
    score = models.PositiveSmallIntegerField(null=True, blank=True, editable=False)
    problems = models.PositiveSmallIntegerField(default=0, editable=False, help_text="Findings of the last audit.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["score", "name"]
        constraints = [models.UniqueConstraint(fields=["kind", "name"], name="one_audit_target_per_sender")]
        indexes = [models.Index(fields=["due_at"], name="audit_due")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """The name is canonical, and what is given belongs to its kind."""
        try:
            self.name = clean_ip(self.name, "") if self.kind == "ip" else clean_domain(self.name, "")
        except ParseError as error:
            raise ValidationError({"name": f"This {error.message}."}) from None
        if self.name == UNKNOWN_IP or self.name.startswith("["):
            raise ValidationError({"name": f"This is no {self.get_kind_display()} that could be audited."})
        of_others = ("dkim_selectors", "envelope_domain") if self.kind == "ip" else ("helo_names",)
        for field in of_others:
            if getattr(self, field):
                raise ValidationError({field: f"This is not for a {self.get_kind_display()}."})


class AuditReport(models.Model):
    """What one audit found. Rows are written once; only which is the latest changes."""

    kind = models.CharField(max_length=6, choices=KINDS)
    subject = models.CharField(max_length=255, help_text="The IP or domain.")
    at = models.DateTimeField(default=timezone.now, db_index=True)
    score = models.PositiveSmallIntegerField(
        null=True, help_text="0 to 100; what could not be checked takes nothing off. Empty: nothing could be checked."
    )
    findings = models.JSONField(default=list)
    problems = models.PositiveSmallIntegerField(default=0)
    unchecked = models.PositiveSmallIntegerField(default=0, help_text="What nobody could tell.")
    why = models.CharField("why it ran", max_length=10, choices=REASONS)
    asked_by = models.CharField(max_length=150, blank=True, help_text="The user's name at that time.")
    evidence = models.JSONField(default=dict, blank=True, help_text="The refusals behind it, by cause.")
    is_latest = models.BooleanField(default=True, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"], condition=Q(is_latest=True), name="one_latest_audit_per_sender"
            )
        ]
        indexes = [models.Index(fields=["kind", "subject", "at"], name="audit_report_by_sender")]

    def __str__(self) -> str:
        return f"{self.subject} {self.at:%Y-%m-%d %H:%M}: {'–' if self.score is None else self.score}"

    @property
    def found(self) -> list[Finding]:
        """The findings as values, worst first."""
        return [Finding.from_json(entry) for entry in self.findings]

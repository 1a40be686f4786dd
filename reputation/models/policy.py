"""What operators decide: pools of sending IPs and the thresholds each pool is judged by. All of it versioned data."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from reputation.domain.policy import Tier
from reputation.models.revision import Revision


def ratio_field(default: str, help_text: str) -> models.DecimalField:  # type: ignore[type-arg]
    """A threshold between 0 and 1, compared exactly."""
    return models.DecimalField(
        max_digits=7,
        decimal_places=6,
        default=Decimal(default),
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(Decimal(1))],
        help_text=help_text,
    )


class Pool(models.Model):
    """A group of sending IPs that share a policy."""

    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(blank=True)
    is_default = models.BooleanField(default=False, help_text="IPs that are in no pool are judged by this one.")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["is_default"], condition=Q(is_default=True), name="one_default_pool")
        ]

    def __str__(self) -> str:
        return self.name


class Policy(models.Model):
    """The thresholds of one pool; ratios are refused over sent messages, 0 to 1."""

    pool = models.OneToOneField(Pool, on_delete=models.CASCADE, related_name="policy")
    window = models.DurationField(
        default=timedelta(minutes=15),
        validators=[MinValueValidator(timedelta(minutes=1)), MaxValueValidator(timedelta(hours=24))],
        help_text="Whole minutes, 15 by default.",
    )
    minimum_volume = models.PositiveIntegerField(default=50, help_text="Under it an IP is always healthy.")
    blacklisted_ratio_above = ratio_field("0.05", "Blacklisted: more than this share was refused …")
    blacklisted_domains_from = models.PositiveIntegerField(default=3, help_text="… by at least so many domains …")
    blacklisted_majors_from = models.PositiveIntegerField(default=2, help_text="… and so many major providers.")
    quarantine_a_ratio_above = ratio_field(
        "0.03", "Quarantine A: more than this share was refused, a code tier reached …"
    )
    quarantine_a_majors_from = models.PositiveIntegerField(default=1, help_text="… at so many major providers.")
    quarantine_b_ratio_above = ratio_field("0.05", "Quarantine B: more than this share was refused …")
    quarantine_b_domains_from = models.PositiveIntegerField(default=2, help_text="… by at least so many domains.")
    warning_ratio_from = ratio_field("0.02", "Warning: this share or more was refused.")
    warning_temporary_above = models.PositiveIntegerField(
        default=10, help_text="Warning: more temporary refusals than this, and a permanent one beside them."
    )
    warning_refused_from = models.PositiveIntegerField(default=5, help_text="Warning: so many refusals with 5.7.1.")
    count_major_by = models.CharField(
        max_length=10,
        choices=[("domain", "domain"), ("provider", "provider")],
        default="domain",
        help_text="Whether hotmail.com and live.com are two major providers or one.",
    )
    revision = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        verbose_name_plural = "policies"
        ordering = ["pool__name"]

    def __str__(self) -> str:
        return f"{self.pool} (revision {self.revision})"


class PolicyRevision(Revision):
    """A policy as it was from some moment on, and who made it so."""

    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, related_name="revisions")

    class Meta(Revision.Meta):
        constraints = [models.UniqueConstraint(fields=["policy", "revision"], name="one_row_per_policy_revision")]


class SendingIP(models.Model):
    """A sending IP as its operator knows it; made by itself when first seen."""

    ip = models.GenericIPAddressField("sending IP", primary_key=True)
    pool = models.ForeignKey(Pool, null=True, blank=True, on_delete=models.SET_NULL, related_name="ips")
    label = models.CharField(max_length=200, blank=True)
    weight = models.PositiveSmallIntegerField(
        default=100,
        validators=[MaxValueValidator(10_000)],
        help_text="Its share of the pool's mail, relative to the others'. 0: none.",
    )
    is_backup = models.BooleanField(
        "backup", default=False, help_text="Sends only when no other IP of its pool may send."
    )
    transport = models.CharField(
        "Postfix transport",
        max_length=300,
        blank=True,
        validators=[
            RegexValidator(
                r"\A[A-Za-z0-9_.-]+(:[A-Za-z0-9\[\]:_.-]*)?\Z",
                "A service name of letters, digits, dot, dash and underscore; where a relay is used, “:” and its host.",
            )
        ],
        help_text="The service in master.cf that binds this address, for example smtp-10, or with a relay "
        "smtp-10:[relay.example]:587. Empty: the socketmap does not choose it.",
    )
    first_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "sending IP"
        verbose_name_plural = "sending IPs"
        ordering = ["ip"]

    def __str__(self) -> str:
        return str(self.ip)


class CodeTier(models.Model):
    """Which tier an enhanced status code is in."""

    code = models.CharField(max_length=16, primary_key=True, help_text="For example 5.7.1.")
    tier = models.CharField(max_length=20, choices=[(tier.value, tier.value) for tier in Tier])
    note = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["tier", "code"]

    def __str__(self) -> str:
        return f"{self.code} ({self.tier})"


class TierMinimum(models.Model):
    """How many refusals with one code of a tier reach it."""

    tier = models.CharField(max_length=20, primary_key=True, choices=[(tier.value, tier.value) for tier in Tier])
    minimum = models.PositiveIntegerField(validators=[MinValueValidator(1)])

    class Meta:
        verbose_name_plural = "tier minima"

    def __str__(self) -> str:
        return f"{self.tier}: {self.minimum}"


class MajorProviderDomain(models.Model):
    """A recipient domain of a major mailbox provider."""

    domain = models.CharField(max_length=255, primary_key=True)
    provider = models.CharField(max_length=60)

    class Meta:
        ordering = ["provider", "domain"]

    def __str__(self) -> str:
        return f"{self.domain} ({self.provider})"

"""The KumoMTAs that are told to hold mail back, and every act there."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from reputation.domain.kumomta import Act, NamedBy, Names
from telemetry.domain.clean import domain as clean_domain
from telemetry.domain.clean import ip as clean_ip
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.domain.web_address import LONGEST_URL, web_address
from telemetry.models import Source
from telemetry.secrets import decrypt, encrypt

_PURPOSE = "kumomta-login"
LONGEST_NAME = 200


def valid_admin_url(value: str) -> None:
    """Raise unless the value is an http(s) address without a password and without a query in it."""
    try:
        web_address(value, "This")
    except ParseError as error:
        raise ValidationError(f"{error.field} {error.message}.") from None
    if "?" in value or "#" in value:
        raise ValidationError("Give the address alone, such as http://mta-1.example.com:8000.")


def valid_sources(value: Any) -> None:
    """Raise unless the value maps names of egress sources to sending IPs in their canonical form."""
    for name, address in _entries(value, "{“ip-1”: “203.0.113.10”}"):
        try:
            found = clean_ip(address, name)
        except ParseError as error:
            raise ValidationError(f"{name}: {address!r} {error.message}.") from None
        if found != address or found == UNKNOWN_IP:
            raise ValidationError(f"{name}: {address!r} is not the usual form of an IP address.")
        if not name.isprintable() or "->" in name:
            raise ValidationError(f"{name!r} is not the name of an egress source.")


def valid_domains(value: Any) -> None:
    """Raise unless the value maps sending domains in their canonical form to names."""
    for domain, name in _entries(value, "{“shop.example”: “customer-7”}"):
        try:
            found = clean_domain(domain, domain)
        except ParseError as error:
            raise ValidationError(f"{domain!r} {error.message}.") from None
        if found != domain or not name.isprintable():
            raise ValidationError(f"{domain!r} → {name!r}: give a lower-case domain and a plain name.")


def _entries(value: Any, example: str) -> list[tuple[str, str]]:
    texts = isinstance(value, dict) and all(isinstance(entry, str) for pair in value.items() for entry in pair)
    if not texts or not all(0 < len(entry) <= LONGEST_NAME for pair in value.items() for entry in pair):
        raise ValidationError(f"Give a JSON object such as {example}.")
    return list(value.items())


class KumoServer(models.Model):
    """A KumoMTA whose admin API we may call. How it was last found is kept beside how it is reached."""

    name = models.CharField(
        max_length=100,
        unique=True,
        validators=[RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._-]*$", "Use letters, digits, dots, dashes, underscores.")],
        help_text="Letters, digits, dots, dashes and underscores, for example mta-1.",
    )
    url = models.CharField(
        "admin API",
        max_length=LONGEST_URL,
        validators=[valid_admin_url],
        help_text="Of its HTTP listener, such as http://mta-1.example.com:8000.",
    )
    login_sealed = models.TextField(blank=True, editable=False)
    source = models.ForeignKey(
        Source,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        limit_choices_to={"kind": "kumomta"},
        related_name="kumo_servers",
        help_text="The source that this server reports as; its token reads this server's shaping file.",
    )
    named_by = models.CharField(
        "sending domains are",
        max_length=10,
        blank=True,
        choices=[(NamedBy.TENANT.value, "tenants"), (NamedBy.CAMPAIGN.value, "campaigns")],
        help_text="What a sending domain is in its queue names. Empty: it knows none, and cannot pause one.",
    )
    domain_names = models.JSONField(
        "names of sending domains",
        default=dict,
        blank=True,
        validators=[valid_domains],
        help_text="Sending domain → its tenant or campaign there. A domain that is not listed goes by its own name.",
    )
    egress_sources = models.JSONField(
        default=dict,
        blank=True,
        validators=[valid_sources],
        help_text="Egress source → sending IP. An IP that is not listed cannot be paused there.",
    )
    is_active = models.BooleanField("active", default=True, help_text="An inactive server is never called.")
    checked_at = models.DateTimeField("last called", null=True, blank=True, editable=False)
    suspensions = models.PositiveIntegerField(
        null=True, blank=True, editable=False, help_text="Of ours, as last found there."
    )
    seen_event = models.PositiveBigIntegerField(
        default=0, editable=False, help_text="The newest breaker transition that it was told of."
    )
    failures = models.PositiveIntegerField(default=0, editable=False, help_text="Calls in a row without success.")
    error = models.CharField(max_length=500, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = "KumoMTA server"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def login(self) -> str:
        """ "user:password" for Basic authentication; empty where the server trusts our address."""
        return decrypt(_PURPOSE, self.login_sealed)

    @login.setter
    def login(self, login: str) -> None:
        self.login_sealed = encrypt(_PURPOSE, login)

    def is_elsewhere(self, url: str) -> bool:
        """Whether this address is of another host than ours: a login must not follow to where somebody points it."""
        here, there = urlsplit(self.url), urlsplit(url)
        return (here.scheme.lower(), here.netloc.lower()) != (there.scheme.lower(), there.netloc.lower())

    @property
    def names(self) -> Names:
        """How it names what breakers are about."""
        return Names(NamedBy(self.named_by), self.domain_names, self.egress_sources)


class KumoAct(models.Model):
    """One call of a KumoMTA and what it answered. Written once and never edited.

    Of the readings that find nothing to do only the first that fails is written: there is one every few seconds.
    """

    id = models.BigAutoField(primary_key=True)
    server = models.ForeignKey(KumoServer, on_delete=models.PROTECT, related_name="acts")
    at = models.DateTimeField(default=timezone.now, db_index=True)
    act = models.CharField(max_length=10, choices=[(act.value, act.value) for act in Act])
    method = models.CharField(max_length=6)
    path = models.CharField(max_length=100)
    kind = models.CharField(
        max_length=6,
        blank=True,
        choices=[("ip", "sending IP"), ("domain", "sending domain")],
        help_text="Of the scope.",
    )
    sender = models.CharField(max_length=255, blank=True, help_text="The IP or domain.")
    provider = models.CharField("mailbox provider", max_length=60, blank=True)
    # No foreign key: both tables lose their old rows by age, each by itself.
    breaker_event = models.PositiveBigIntegerField(
        "breaker transition", null=True, blank=True, help_text="The one that it followed."
    )
    body = models.JSONField(default=dict, blank=True, help_text="As sent; it holds no secret.")
    status = models.PositiveSmallIntegerField("HTTP status", null=True, blank=True, help_text="Empty: no answer.")
    answer_id = models.CharField(
        "suspension", max_length=64, blank=True, db_index=True, help_text="KumoMTA's id of it."
    )
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        verbose_name = "act at KumoMTA"
        verbose_name_plural = "acts at KumoMTA"
        ordering = ["-id"]
        indexes = [models.Index(fields=["server", "id"], name="kumo_act_by_server")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.act} at {self.server_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; a row that exists cannot be changed."""
        if not self._state.adding:
            raise TypeError("An act is never edited.")
        super().save(*args, **kwargs)

"""Who reports to us, and the tokens they and the people behind them carry."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from telemetry.domain.addresses import Network, networks
from telemetry.domain.clean import ip as clean_ip
from telemetry.domain.errors import ParseError
from telemetry.domain.scopes import Scope
from telemetry.domain.vocab import SourceKind, VolumeReporting
from telemetry.domain.web_address import LONGEST_URL, web_address
from telemetry.secrets import decrypt, encrypt

MOST_PER_MINUTE = 10_000_000


def choices(words: type[SourceKind] | type[VolumeReporting]) -> list[tuple[str, str]]:
    """Form choices for an enumeration of words."""
    return [(word.value, word.value.replace("_", " ")) for word in words]


def valid_ip_map(value: Any) -> None:
    """Raise unless the value maps names (node, queue, syslog name) to sending IPs."""
    if not isinstance(value, dict):
        raise ValidationError("Give a JSON object such as {“postfix-ip10”: “203.0.113.10”}.")
    for name, address in value.items():
        try:
            clean_ip(str(address), name)
        except ParseError as error:
            raise ValidationError(f"{name}: {address!r} {error.message}.") from error


def valid_networks(value: Any) -> None:
    """Raise unless the value is a list of networks; the message names the entry that is none."""
    try:
        networks(value)
    except ParseError as error:
        raise ValidationError(error.message) from error


def valid_metrics_url(value: str) -> None:
    """Raise unless the value is an http(s) address without a password in it."""
    try:
        web_address(value, "This")
    except ParseError as error:
        raise ValidationError(f"{error.field} {error.message}.") from error


class Source(models.Model):
    """A mail server, ESP account or script that reports events."""

    name = models.CharField(
        max_length=100,
        unique=True,
        validators=[RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._-]*$", "Use letters, digits, dots, dashes, underscores.")],
        help_text="Letters, digits, dots, dashes and underscores, for example mta-1.",
    )
    kind = models.CharField(max_length=20, choices=choices(SourceKind), default=SourceKind.DOCUMENTED)
    region = models.CharField(max_length=100, blank=True)
    node = models.CharField(max_length=200, blank=True, help_text="Host name of the mail server, for the record.")
    ip_map = models.JSONField(
        "IP mapping",
        default=dict,
        blank=True,
        validators=[valid_ip_map],
        help_text="Name the server logs (node, queue or syslog name) → sending IP, where events do not carry the IP.",
    )
    volume = models.CharField(
        "volume reporting",
        max_length=20,
        choices=choices(VolumeReporting),
        default=VolumeReporting.AUTO,
        help_text="Whether events are the whole traffic. Auto: yes once deliveries from the IP arrive.",
    )
    hmac_key_sealed = models.TextField(blank=True, editable=False)
    metrics_url = models.CharField(
        "metrics page",
        max_length=LONGEST_URL,
        blank=True,
        validators=[valid_metrics_url],
        help_text="Stalwart's own counters, such as https://mail.example.com/metrics/prometheus: read every minute to "
        "see whether events were lost. Empty: not read.",
    )
    metrics_login_sealed = models.TextField(blank=True, editable=False)
    is_active = models.BooleanField("active", default=True, help_text="An inactive source is answered 403.")
    allowed_networks = models.JSONField(
        default=list,
        blank=True,
        validators=[valid_networks],
        help_text="Networks that reports may come from, such as 203.0.113.0/24 or 2001:db8::/32; others are answered "
        "403. Empty: anywhere.",
    )
    requests_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(MOST_PER_MINUTE)],
        help_text="More are answered 429. Empty: the installation's limit; 0: no limit.",
    )
    events_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(MOST_PER_MINUTE)],
        help_text="More are answered 429. Empty: the installation's limit; 0: no limit.",
    )
    last_event_at = models.DateTimeField("last event", null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    notes = models.TextField(blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def networks(self) -> tuple[Network, ...]:
        """Where reports may come from; empty: anywhere."""
        return _networks_of(tuple(self.allowed_networks))

    @property
    def hmac_key(self) -> str:
        """The key that request bodies are signed with; empty when signatures are not asked for."""
        return decrypt("source-hmac", self.hmac_key_sealed)

    @hmac_key.setter
    def hmac_key(self, key: str) -> None:
        self.hmac_key_sealed = encrypt("source-hmac", key)

    @property
    def metrics_login(self) -> str:
        """ "user:password" for the metrics page; empty when it asks for none."""
        return decrypt("source-metrics", self.metrics_login_sealed)

    @metrics_login.setter
    def metrics_login(self, login: str) -> None:
        self.metrics_login_sealed = encrypt("source-metrics", login)


@lru_cache(maxsize=1_000)
def _networks_of(entries: tuple[str, ...]) -> tuple[Network, ...]:
    return networks(entries)


class StoredToken(models.Model):
    """What is kept of a bearer token: a prefix to find it by and a keyed digest to compare with."""

    prefix = models.CharField(max_length=16, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    label = models.CharField(max_length=100, blank=True, help_text="Where it is used, for whoever must rotate it.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"gs_{self.prefix}_…"

    @property
    def is_usable(self) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())


class SourceToken(StoredToken):
    """Lets a source report its events."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="tokens")


class ApiToken(StoredToken):
    """Lets a script act in the API as the user it belongs to, as far as its scope goes."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    scope = models.CharField(
        max_length=10,
        choices=[(scope.value, scope.value) for scope in Scope],
        default=Scope.READ.value,
        help_text="How far it goes; never further than its user. read: looks; operate: acts on senders; admin: all "
        "that its user may.",
    )

    class Meta(StoredToken.Meta):
        verbose_name = "API token"

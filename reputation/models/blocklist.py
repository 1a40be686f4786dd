"""Blocklists as data, what each says of each IP and domain, and every change of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from reputation.blocklist_data import why_dead
from reputation.domain.dnsbl import KEY_PLACE, ErrorKind, Match, Result, Severity, Zone, ZoneKind
from reputation.domain.dnsbl_belief import State
from reputation.models.blocklist_shape import (
    as_code,
    valid_bits,
    valid_informational_bits,
    valid_keyed_zone,
    valid_listed,
    valid_not_listed,
    valid_test_points,
    valid_zone,
)
from telemetry.secrets import decrypt, encrypt

_PURPOSE = "blocklist-key"
_KINDS = [
    (ZoneKind.IP.value, "blocklist of IPs"),
    (ZoneKind.DOMAIN.value, "blocklist of domains"),
    (ZoneKind.ALLOW_IP.value, "allow list of IPs"),
    (ZoneKind.ALLOW_DOMAIN.value, "allow list of domains"),
]
_MATCHES = [
    (Match.EXACT.value, "by the table of answers"),
    (Match.BITMASK.value, "bits of the last octet"),
    (Match.ANY.value, "every 127.x.y.z but 127.255.255.x"),
    (Match.DNSWL.value, "127.0.category.trust"),
]
_TIERS = [("A", "A: moves delivery at large providers"), ("B", "B: used by filters"), ("C", "C: informs only")]
_NEEDS = [
    ("key", "a key"),
    ("key_or_resolver", "a key, or a resolver of one's own"),
    ("resolver", "a resolver of one's own"),
]
_SUBJECTS = [("ip", "sending IP"), ("domain", "sending domain")]
_STATES = [(state.value, state.value) for state in State]
_RESULTS = [(result.value, result.value) for result in Result]
_ERRORS = [(kind.value, kind.value.replace("_", " ")) for kind in ErrorKind]
_SEVERITIES = [(severity.value, severity.value) for severity in Severity]


class Blocklist(models.Model):
    """One DNS list: how it is asked, what its answers mean, how much it matters."""

    name = models.CharField(
        max_length=60,
        unique=True,
        validators=[RegexValidator(r"^[a-z0-9][a-z0-9_-]*$", "Use lower-case letters, digits, dashes, underscores.")],
        help_text="Lower-case letters, digits, dashes and underscores, for example spamhaus_zen.",
    )
    operator = models.CharField(max_length=100, blank=True)
    kind = models.CharField(max_length=12, choices=_KINDS, default=ZoneKind.IP.value)
    zone = models.CharField(max_length=200, blank=True, validators=[valid_zone], help_text="Asked without a key.")
    keyed_zone = models.CharField(
        max_length=200,
        blank=True,
        validators=[valid_keyed_zone],
        help_text="Asked where there is a key, with {key} in its place: {key}.bl.example.com.",
    )
    key_sealed = models.TextField(blank=True, editable=False)
    ipv4 = models.BooleanField("lists IPv4", default=True)
    ipv6 = models.BooleanField("lists IPv6", default=False)
    is_enabled = models.BooleanField("enabled", default=True, help_text="A list that is not enabled is never asked.")
    needs = models.CharField(
        max_length=15, blank=True, choices=_NEEDS, help_text="Before it may be asked. Without it, it is left alone."
    )
    tier = models.CharField(max_length=1, choices=_TIERS, default="C")
    weight = models.FloatField(
        default=0.1,
        validators=[MinValueValidator(-1), MaxValueValidator(1)],
        help_text="From 0 to 1 within its tier; below 0 for allow lists.",
    )
    match = models.CharField("answers are read", max_length=8, choices=_MATCHES, default=Match.EXACT.value)
    listed = models.JSONField("answers that mean listed", default=dict, blank=True, validators=[valid_listed])
    not_listed = models.JSONField(
        "answers that do not",
        default=dict,
        blank=True,
        validators=[valid_not_listed],
        help_text="A sentence each; “error: …” where the list refuses the question.",
    )
    bits = models.JSONField("bits that mean listed", default=dict, blank=True, validators=[valid_bits])
    informational_bits = models.JSONField(
        "bits that do not", default=dict, blank=True, validators=[valid_informational_bits]
    )
    test_listed = models.JSONField(
        "test points that are listed",
        default=list,
        blank=True,
        validators=[valid_test_points],
        help_text="Empty: RFC 5782's, 127.0.0.2 or TEST.",
    )
    test_clear = models.JSONField(
        "test points that are not",
        default=list,
        blank=True,
        validators=[valid_test_points],
        help_text="Empty: RFC 5782's, 127.0.0.1 or INVALID.",
    )
    resolver = models.GenericIPAddressField(
        null=True, blank=True, help_text="An address to ask about this list alone. Empty: the usual DNS servers."
    )
    resolver_port = models.PositiveIntegerField(default=53, validators=[MinValueValidator(1), MaxValueValidator(65535)])
    queries_per_second = models.PositiveIntegerField(
        default=20, validators=[MinValueValidator(1), MaxValueValidator(1000)], help_text="Over all workers together."
    )
    check_every = models.DurationField(
        default=timedelta(hours=4),
        validators=[MinValueValidator(timedelta(minutes=15)), MaxValueValidator(timedelta(days=7))],
        help_text="How often each IP or domain is looked up.",
    )
    delist_url = models.URLField("removal", blank=True, max_length=300)
    delist_note = models.CharField("about removal", max_length=300, blank=True)
    notes = models.CharField(max_length=500, blank=True, help_text="Its operator's terms.")
    source = models.CharField(max_length=300, blank=True, help_text="Where these facts are from.")
    builtin = models.BooleanField("shipped", default=False, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["tier", "-weight", "name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse what could never be asked rightly: no zone, no family, a zone that is dead."""
        if not self.zone and not self.keyed_zone:
            raise ValidationError({"zone": "Give the zone, or the one with a key."})
        for name in ("zone", "keyed_zone"):
            if why := why_dead(getattr(self, name).replace(KEY_PLACE, "key")):
                raise ValidationError({name: f"This list is dead and must not be asked: {why}."})
        if ZoneKind(self.kind).is_of_ips and not (self.ipv4 or self.ipv6):
            raise ValidationError({"ipv4": "A list of IPs has IPv4 or IPv6 addresses or both."})

    @property
    def key(self) -> str:
        """The operator's key; empty where there is none."""
        return decrypt(_PURPOSE, self.key_sealed)

    @key.setter
    def key(self, key: str) -> None:
        self.key_sealed = encrypt(_PURPOSE, key)

    @property
    def shown_zone(self) -> str:
        """What is asked, with "{key}" in the place of the key."""
        return self.keyed_zone if self.keyed_zone and (self.key_sealed or not self.zone) else self.zone

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        """The list's own resolver; none where the usual ones are asked."""
        return ((self.resolver, self.resolver_port),) if self.resolver else ()

    @property
    def asked_at(self) -> tuple[str, str | None, int]:
        """To whom the key goes."""
        return self.keyed_zone, self.resolver, self.resolver_port

    @property
    def why_not_asked(self) -> str:
        """A phrase; empty where it is asked."""
        if not self.is_enabled:
            return "not enabled"
        if why_dead(self.shown_zone.replace(KEY_PLACE, "key")):
            return "dead"
        has_key = bool(self.key_sealed and self.keyed_zone)
        has_resolver = bool(self.resolver or settings.DNS_SERVERS)
        if self.shown_zone == self.keyed_zone and not has_key:
            return "needs a key"
        if self.needs == "key" and not has_key:
            return "needs a key"
        if self.needs == "key_or_resolver" and not (has_key or has_resolver):
            return "needs a key or a resolver of your own"
        if self.needs == "resolver" and not has_resolver:
            return "needs a resolver of your own"
        return ""

    @property
    def families(self) -> frozenset[int]:
        """The IP versions it lists."""
        return frozenset(version for version, has in ((4, self.ipv4), (6, self.ipv6)) if has)

    def takes(self, subject: str) -> bool:
        """Whether it may be asked about that IP or domain."""
        return Zone(self.name, "", ZoneKind(self.kind), families=self.families).takes(subject)

    @property
    def as_zone(self) -> Zone:
        """The list as the checker needs it, the key in its name."""
        return Zone(
            name=self.name,
            suffix=self.shown_zone.replace(KEY_PLACE, self.key),
            kind=ZoneKind(self.kind),
            match=Match(self.match),
            families=self.families,
            listed={code: as_code(meaning) for code, meaning in self.listed.items()},
            not_listed=dict(self.not_listed),
            bits={int(bit): as_code(meaning) for bit, meaning in self.bits.items()},
            informational_bits={int(bit): text for bit, text in self.informational_bits.items()},
            test_listed=tuple(self.test_listed),
            test_clear=tuple(self.test_clear),
        )


class BlocklistCanary(models.Model):
    """Whether a list passed its own test points when it was last tried, for one IP version or for domains."""

    blocklist = models.ForeignKey(Blocklist, on_delete=models.CASCADE, related_name="canaries")
    family = models.PositiveSmallIntegerField(choices=[(4, "IPv4"), (6, "IPv6"), (0, "domains")])
    is_good = models.BooleanField("believed")
    error = models.CharField(max_length=15, blank=True, choices=_ERRORS)
    detail = models.CharField(max_length=300, blank=True)
    asked_at = models.DateTimeField()
    stands_until = models.DateTimeField(help_text="Not asked again before.")

    class Meta:
        verbose_name_plural = "blocklist canaries"
        constraints = [models.UniqueConstraint(fields=["blocklist", "family"], name="one_canary_per_list_and_family")]

    def __str__(self) -> str:
        return f"{self.blocklist_id} {self.get_family_display()}: {'good' if self.is_good else self.error}"


class Listing(models.Model):
    """What one list says of one IP or domain: what is believed, and the last look.

    Whoever asks holds the row's claim; only who holds it writes the result, so no pair is asked twice at a time.
    """

    blocklist = models.ForeignKey(Blocklist, on_delete=models.CASCADE, related_name="listings")
    kind = models.CharField(max_length=6, choices=_SUBJECTS)
    subject = models.CharField(max_length=255, help_text="The IP or domain.")
    state = models.CharField(max_length=7, choices=_STATES, default=State.UNKNOWN.value, help_text="What is believed.")
    since = models.DateTimeField(null=True, blank=True, help_text="When the state was first believed.")
    pending = models.CharField(max_length=7, blank=True, choices=_STATES, help_text="Seen, and not yet confirmed.")
    seen = models.PositiveSmallIntegerField(default=0, help_text="How often in a row the pending state was seen.")
    result = models.CharField("last look", max_length=6, blank=True, choices=_RESULTS)
    error = models.CharField(max_length=15, blank=True, choices=_ERRORS)
    detail = models.CharField(max_length=300, blank=True)
    codes = models.JSONField("answers", default=list, blank=True)
    sublists = models.JSONField(default=list, blank=True)
    meaning = models.CharField(max_length=500, blank=True)
    severity = models.CharField(max_length=8, blank=True, choices=_SEVERITIES)
    text = models.CharField("the list's words", max_length=500, blank=True)
    asked_at = models.DateTimeField(null=True, blank=True)
    took = models.FloatField(null=True, blank=True, help_text="Seconds.")
    fresh_until = models.DateTimeField(null=True, blank=True, help_text="Until then the answer stands (TTL).")
    due_at = models.DateTimeField(default=timezone.now, help_text="When it is asked next.")
    failures = models.PositiveIntegerField(default=0, help_text="Errors in a row.")
    wanted_until = models.DateTimeField(null=True, blank=True, editable=False, help_text="A person asked about it.")
    shard = models.PositiveSmallIntegerField(editable=False)
    claim = models.CharField(max_length=32, blank=True, editable=False)
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["subject", "blocklist__tier", "-blocklist__weight", "blocklist__name"]
        constraints = [
            models.UniqueConstraint(fields=["blocklist", "subject"], name="one_listing_per_list_and_subject")
        ]
        indexes = [
            models.Index(fields=["shard", "due_at"], name="listing_due"),
            models.Index(fields=["subject"], name="listing_by_subject"),
            models.Index(fields=["since"], condition=Q(state="listed"), name="listing_standing"),
            models.Index(fields=["claim"], condition=~Q(claim=""), name="listing_claimed"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} at {self.blocklist_id}: {self.state}"


class ListingEvent(models.Model):
    """One believed change. Rows are written once and never edited: history and outbox in one."""

    blocklist = models.ForeignKey(Blocklist, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=6, choices=_SUBJECTS)
    subject = models.CharField(max_length=255, help_text="The IP or domain.")
    at = models.DateTimeField(default=timezone.now, db_index=True)
    from_state = models.CharField("from", max_length=7, choices=_STATES)
    to_state = models.CharField("to", max_length=7, choices=_STATES)
    tier = models.CharField(max_length=1, help_text="Of the list at that time.")
    codes = models.JSONField("answers", default=list, blank=True)
    sublists = models.JSONField(default=list, blank=True)
    meaning = models.CharField(max_length=500, blank=True)
    severity = models.CharField(max_length=8, choices=_SEVERITIES)
    text = models.CharField("the list's words", max_length=500, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["subject", "id"], name="listing_event_by_subject"),
            models.Index(fields=["blocklist", "id"], name="listing_event_by_list"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.subject} {self.from_state} → {self.to_state}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; a row that exists cannot be changed."""
        if not self._state.adding:
            raise TypeError("A listing event is never edited.")
        super().save(*args, **kwargs)


class Watermark(models.Model):
    """Up to which moment somebody has read what others write. Readers look back over it, so that late rows count."""

    name = models.CharField(max_length=60, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {self.at:%Y-%m-%d %H:%M}"

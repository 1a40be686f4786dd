"""What the operator may change about causes and mailbox providers: the rules, and the directory."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from telemetry.domain.causes import Category, Confidence, Permanence, Scope
from telemetry.domain.patterns import fault_of


def _words(kind: type[Category] | type[Scope] | type[Permanence] | type[Confidence]) -> list[tuple[str, str]]:
    return [(word.value, word.value.replace("_", " ")) for word in kind]


class CauseRule(models.Model):
    """What a reply means; of the active rules the first in order that fits decides."""

    name = models.SlugField(
        max_length=60,
        unique=True,
        help_text="Short and lasting: shipped rules are known by it, and an update leaves them as you set them.",
    )
    title = models.CharField(max_length=200, blank=True, help_text="What the reply means.")
    order = models.PositiveIntegerField(
        default=500, db_index=True, help_text="Lower is tried first. Shipped rules begin at 1000: 500 wins over them."
    )
    active = models.BooleanField(default=True)
    providers = models.CharField(
        "mailbox providers", max_length=200, blank=True, help_text="Families, separated by commas; empty: any."
    )
    reply = models.CharField(
        "reply code", max_length=60, blank=True, help_text="Regular expression for the whole code, such as 4.. or 550."
    )
    enhanced = models.CharField(
        "enhanced code", max_length=100, blank=True, help_text=r"Regular expression for the whole code: [45]\.7\.25."
    )
    text = models.TextField(
        blank=True,
        help_text="Regular expression searched in the reply in lower case on one line, without codes at line starts; "
        "addresses read as @, IPs, ids and long numbers as #.",
    )
    category = models.CharField(max_length=20, choices=_words(Category))
    scope = models.CharField(max_length=20, choices=_words(Scope), default=Scope.UNKNOWN.value)
    permanence = models.CharField(
        max_length=20,
        choices=_words(Permanence),
        default=Permanence.EITHER.value,
        help_text="“either” goes by the reply code.",
    )
    confidence = models.CharField(max_length=10, choices=_words(Confidence), default=Confidence.MEDIUM.value)
    advice = models.CharField(max_length=300, blank=True, help_text="One sentence; empty: that of the category.")
    link = models.CharField(max_length=300, blank=True, validators=[URLValidator(["https", "http"])])
    examples = models.TextField(blank=True, help_text="Replies that this rule is for, one a line.")
    source = models.CharField(max_length=200, blank=True, help_text="Where the meaning is documented.")
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["order", "name"]
        constraints = [
            models.CheckConstraint(condition=~Q(reply="") | ~Q(enhanced="") | ~Q(text=""), name="a_rule_has_a_pattern")
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse patterns that are none, that fit everything or could take for ever."""
        faults = {name: fault_of(getattr(self, name), of_code=name != "text") for name in ("reply", "enhanced", "text")}
        found = {name: fault for name, fault in faults.items() if fault}
        if found:
            raise ValidationError(found)
        if not (self.reply or self.enhanced or self.text):
            raise ValidationError({"text": "Give at least one pattern: a rule without one would fit every reply."})


class RuleSet(models.Model):
    """The one row that says which edition of the rules is in force, and how far stored refusals follow it."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    version = models.BigIntegerField(default=1)
    changed_at = models.DateTimeField(default=timezone.now)
    applied_version = models.BigIntegerField(default=0, help_text="Stored refusals were all classified by this one.")
    running_version = models.BigIntegerField(default=0)
    started_at = models.DateTimeField(null=True)
    position = models.BigIntegerField(default=0, help_text="Event up to which the running edition was applied.")
    changed_rows = models.BigIntegerField(default=0, help_text="Refusals whose cause the running edition changed.")

    def __str__(self) -> str:
        return f"edition {self.version}"


class MailboxProvider(models.Model):
    """Who runs mailboxes, and by which MX hosts and domains they are known."""

    id = models.SlugField(primary_key=True, max_length=60)
    title = models.CharField(max_length=200)
    family = models.SlugField(max_length=60, blank=True, help_text="Whose rules of causes apply; empty: its own.")
    kind = models.CharField(max_length=20, default="mailbox", help_text="mailbox, gateway or forwarder.")
    active = models.BooleanField(default=True)
    mx_suffixes = models.JSONField(
        "MX suffixes", default=list, blank=True, help_text='Ends of MX host names with their dot: [".example.net"]'
    )
    mx_globs = models.JSONField("MX patterns", default=list, blank=True, help_text='Whole names: ["mx*.example.net"]')
    domains = models.JSONField(default=list, blank=True, help_text="Recipient domains, for events without an MX host.")
    note = models.TextField(blank=True)
    source = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        """Refuse anything but lists of names; a suffix begins with a dot, so that it cannot end a longer name."""
        for name in ("mx_suffixes", "mx_globs", "domains"):
            entries = getattr(self, name)
            if not isinstance(entries, list) or not all(isinstance(entry, str) and entry for entry in entries):
                raise ValidationError({name: 'A list of names in double quotes, such as ["example.net"].'})
            if any(entry != entry.strip().lower() for entry in entries):
                raise ValidationError({name: "Names in lower case, without blanks."})
        if any(not entry.startswith(".") or entry.count(".") < 2 for entry in self.mx_suffixes):
            raise ValidationError({"mx_suffixes": "Each begins with a dot and names a domain: “.example.net”."})

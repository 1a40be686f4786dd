"""Why a message was refused: the words for it, and what a rule says.

A provider's own text beats a bare code: of 72 published texts with 5.7.1 a quarter speak of reputation, a quarter of
content, and the others of authentication, DNS, relaying or the recipient. So causes come from an ordered set of rules
over provider, text and codes (`telemetry.domain.classifier`); the registry of enhanced codes is the last resort.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Category(StrEnum):
    """What a refusal is about, from the sender's side; stored as the cause of events and refusal counters."""

    REPUTATION = "reputation"
    """The receiver's own opinion of the IP or domain: bad history, complaints, its private block list."""
    BLOCKLIST = "blocklist"
    """A public list names the IP, the domain or a link."""
    AUTHENTICATION = "authentication"
    """SPF, DKIM, DMARC or ARC did not pass."""
    INFRASTRUCTURE = "infrastructure"
    """DNS of the sender: PTR, HELO name, a sender domain that does not resolve."""
    CONTENT = "content"
    """The message itself: spam verdict, virus, size, malformed headers."""
    RATE_LIMIT = "rate_limit"
    """Too much or too fast, greylisting included."""
    POLICY = "policy"
    """The recipient's organisation does not want this mail, or does not say why."""
    UNKNOWN_USER = "unknown_user"
    """No such mailbox or domain, or one that is closed."""
    MAILBOX_FULL = "mailbox_full"
    CONFIG = "config"
    """Relaying, submission, TLS or protocol: one of the two servers is set up wrongly."""
    NETWORK = "network"
    """The receiving server could not be reached or is in trouble."""
    OTHER = "other"
    UNKNOWN = "unknown"


class Scope(StrEnum):
    """What has to change, or be kept away, for the refusal to end."""

    IP = "ip"
    SENDING_DOMAIN = "sending_domain"
    CONTENT = "content"
    RECIPIENT = "recipient"
    OUR_CONFIG = "our_config"
    RECEIVER = "receiver"
    """The receiving server: nothing to do but wait."""
    UNKNOWN = "unknown"


class Permanence(StrEnum):
    """Whether trying again later can help without a change."""

    PERMANENT = "permanent"
    TEMPORARY = "temporary"
    EITHER = "either"


class Confidence(StrEnum):
    """How sure the cause is: the provider's documented text, a general wording, or a bare code."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a reply refused, and what to do."""

    category: Category
    scope: Scope
    permanence: Permanence
    confidence: Confidence
    advice: str
    """One sentence."""
    link: str
    """The provider's page about it; empty where there is none."""
    rule: str
    """Name of the rule, "code X.7.1" for the registry, empty for unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of the rule set. An empty pattern fits everything; all that are given must fit.

    `reply` and `enhanced` are regular expressions for the whole code; `text` is searched in the reply's shape (lower
    case, one line, without codes; see `reply_text`).
    """

    name: str
    providers: frozenset[str] = frozenset()
    """Families of mailbox providers; empty: any."""
    reply: str = ""
    enhanced: str = ""
    text: str = ""
    category: Category
    scope: Scope
    permanence: Permanence = Permanence.EITHER
    confidence: Confidence = Confidence.MEDIUM
    advice: str = ""
    """Empty: the advice for the category."""
    link: str = ""


ADVICE: Final[Mapping[Category, str]] = {
    Category.REPUTATION: "Slow down to this provider, look for complaints and old addresses, and ask for relief only "
    "once the cause is gone.",
    Category.BLOCKLIST: "Look the address up at the list, mend what got it listed, then ask for removal.",
    Category.AUTHENTICATION: "Check SPF, DKIM and DMARC of the sending domain, and that they align with From.",
    Category.INFRASTRUCTURE: "Check the DNS of the sender: PTR and HELO name of the IP, and that the domain resolves.",
    Category.CONTENT: "Look at the message itself: its links, attachments, size and headers.",
    Category.RATE_LIMIT: "Send fewer messages at once to this provider and let the queue try again.",
    Category.POLICY: "The receiver does not want this mail: read its reply and ask its postmaster if it is wanted.",
    Category.UNKNOWN_USER: "Take the address off the list.",
    Category.MAILBOX_FULL: "Try again later, and take the address off the list if it stays full.",
    Category.CONFIG: "Check routing, relaying, TLS and protocol between the two servers.",
    Category.NETWORK: "Let the queue try again; if it lasts, check that the receiving server can be reached.",
    Category.OTHER: "Read the reply: it names no common cause.",
    Category.UNKNOWN: "Read the reply, and make a rule for it if it comes often.",
}

# The answer where no rule and no code tells anything.
UNKNOWN: Final = Rule(name="", category=Category.UNKNOWN, scope=Scope.UNKNOWN, confidence=Confidence.LOW)

"""The words that people read for what the floors below store as ids."""

from __future__ import annotations

from dataclasses import dataclass

from reputation.domain.policy import IssueType, Status
from telemetry.domain.mailbox_providers import OTHER
from telemetry.mailbox_providers import directory

# A shape beside the colour, so that colour alone never carries the meaning.
_SHAPES = {Status.HEALTHY: "●", Status.WARNING: "▲", Status.QUARANTINE: "■", Status.BLACKLISTED: "✖"}
_ISSUES = {
    IssueType.NONE: "",
    IssueType.CONTENT: "content refused as spam",
    IssueType.REPUTATION: "IP reputation",
    IssueType.AUTHENTICATION: "authentication",
    IssueType.INFRASTRUCTURE: "infrastructure or DNS",
    IssueType.POLICY: "policy of the receiver",
    IssueType.HYGIENE: "list hygiene",
    IssueType.RATE_LIMITING: "rate limiting",
    IssueType.MIXED: "mixed causes",
}
_ACTIONS = {
    "status_change": "Status changed",
    "quarantine": "Quarantined by hand",
    "release": "Released by hand",
    "override": "Status set by hand",
    "lift": "Override lifted",
    "expire": "Override expired",
    "breaker_opened": "Breaker opened",
    "breaker_half_open": "Breaker half open",
    "breaker_closed": "Breaker closed",
    "blocklist_listed": "On a blocklist",
    "blocklist_delisted": "Off a blocklist",
    "blocklist_made": "Blocklist added",
    "blocklist_changed": "Blocklist changed",
    "blocklist_deleted": "Blocklist deleted",
    "warmup_proposed": "Warm-up proposed",
    "warmup_started": "Warm-up started",
    "warmup_advanced": "Warm-up a day on",
    "warmup_stepped_back": "Warm-up a day back",
    "warmup_restarted": "Warm-up begun anew",
    "warmup_skipped": "Warm-up day chosen",
    "warmup_completed": "Warm-up completed",
    "warmup_cancelled": "Warm-up cancelled",
    "warmup_withdrawn": "Warm-up no longer proposed",
    "judged": "Judged",
    "sending_ip_changed": "Changed by hand",
    "pool_of_domain_changed": "Pool chosen by hand",
}


@dataclass(frozen=True, slots=True)
class StatusWord:
    """A status as it is shown: the id for its colour, the word, and a shape."""

    id: str
    word: str
    shape: str


def status_word(status: str) -> StatusWord:
    """The status to show; one that this version does not know is shown as it is stored."""
    try:
        known = Status(status)
    except ValueError:
        return StatusWord("unknown", status, "?")
    return StatusWord(known.value, known.value, _SHAPES[known])


def issue_word(issue_type: str) -> str:
    """What is mainly wrong; empty when nothing was refused."""
    try:
        return _ISSUES[IssueType(issue_type)]
    except ValueError:
        return plain(issue_type)


def action_word(action: str) -> str:
    """What an audit row says was done."""
    return _ACTIONS.get(action) or plain(action).capitalize()


def provider_title(provider: str) -> str:
    """A mailbox provider's name; its id when the directory does not have it."""
    if provider == OTHER:
        return "all others"
    return directory().titles.get(provider) or provider


def code_word(code: str) -> str:
    """An enhanced or reply code, or what its absence is called."""
    return code or "no code"


def plain(identifier: str) -> str:
    """An id as words: "rate_limit" is "rate limit"."""
    return identifier.replace("_", " ")

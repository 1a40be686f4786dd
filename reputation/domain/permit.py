"""May this be sent now? Placeholder types; see below."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reputation.domain.sending_policy import Mode


class Action(StrEnum):
    """What the mail server is told."""

    ALLOW = "allow"
    DEFER = "defer"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Ask:
    """One question. Either `ip` or a pool (by default the sending domain's)."""

    sender: str
    """The envelope sender's address or its domain; empty or "<>": the null sender."""
    recipient: str = ""
    """The recipient's address or domain; may be empty where `provider` is given or nothing is known."""
    provider: str = ""
    """The mailbox provider's id; empty: found by the recipient."""
    recipients: int = 1
    ip: str = ""
    pool: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told, and why."""

    action: Action
    """What the mail server shall do: in the modes observe and warn always allow."""
    verdict: Action
    """What the rules say."""
    rule: str
    reason: str
    until: datetime | None
    """When to ask again; None: not known, or nothing to wait for."""
    mode: Mode
    ips: tuple[str, ...] = ()
    """The pool's sending IPs that may send this, in the order to use them."""

    @property
    def warns(self) -> bool:
        """Whether the mail server shall log a warning."""
        return self.mode is Mode.WARN and self.verdict is not Action.ALLOW

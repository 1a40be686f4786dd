"""What a pool's senders may send, and whether the answer binds. Product specification sections 4 ("Limits") and 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """Whether an answer binds the mail server."""

    OBSERVE = "observe"
    WARN = "warn"
    ENFORCE = "enforce"


class OnFailure(StrEnum):
    """What is answered while we cannot know."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ProviderCap:
    """Recipients at one mailbox provider; None: no such cap."""

    per_hour: int | None = None
    per_day: int | None = None


# Product specification section 4: editable, and off until switched on.
DEFAULT_CAPS: dict[str, ProviderCap] = {
    "google": ProviderCap(500, 10_000),
    "microsoft_consumer": ProviderCap(300, 7_500),
    "yahoo": ProviderCap(200, 5_000),
    "": ProviderCap(1_000, 20_000),
}


@dataclass(frozen=True, slots=True)
class SendingPolicy:
    """The numbers of one pool. Limits are recipients an hour before the score's share is taken; None: no limit."""

    mode: Mode = Mode.OBSERVE
    on_failure: OnFailure = OnFailure.OPEN
    ip_limit_per_hour: int | None = None
    domain_limit_per_hour: int | None = None
    least_per_hour: int = 10
    probe_per_hour: int = 10
    provider_limits_on: bool = False
    provider_caps: Mapping[str, ProviderCap] = field(default_factory=lambda: dict(DEFAULT_CAPS))
    """By the provider's id; "" is for each one that is not named."""
    revision: int | None = None

    def cap_at(self, provider: str) -> ProviderCap:
        """The caps in force at this provider."""
        if not self.provider_limits_on or not provider:
            return ProviderCap()
        return self.provider_caps.get(provider) or self.provider_caps.get("") or ProviderCap()

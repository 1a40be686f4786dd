"""The sending IPs of a pool and the order in which to use them. Product specification section 5."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from reputation.domain.policy import Status

# What a standing leaves of an IP's share: quarantine halves it, blacklisted removes the IP.
_SHARES = {Status.QUARANTINE: 0.5, Status.BLACKLISTED: 0.0}


@dataclass(frozen=True, slots=True)
class Member:
    """A sending IP as its pool knows it."""

    ip: str
    weight: int = 100
    is_backup: bool = False
    status: Status = Status.HEALTHY
    transport: str = ""

    @property
    def standing_share(self) -> float:
        """Which share of its weight its standing leaves, 0 to 1."""
        return _SHARES.get(self.status, 1.0)


def in_order(members: Sequence[tuple[Member, float]], key: str) -> tuple[str, ...]:
    """The IPs with a weight above 0 in the order to use them for this key; backups only where nobody else is left.

    Weighted rendezvous hashing: over many keys each IP comes first as often as its weight says; one key finds the same
    IP wherever it is asked, and when an IP leaves only its own keys move.
    """
    able = [(member, weight) for member, weight in members if weight > 0]
    ranked = [pair for pair in able if not pair[0].is_backup] or able
    return tuple(member.ip for member, _ in sorted(ranked, key=lambda pair: _distance(pair[0].ip, pair[1], key)))


def _distance(ip: str, weight: float, key: str) -> float:
    drawn = int.from_bytes(blake2b(f"{key}|{ip}".encode(), digest_size=8).digest(), "big")
    return -math.log((drawn + 1) / (2**64 + 1)) / weight

"""How far an API token goes. Never further than its user: a scope only takes away."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """From the narrowest to the widest. A source's token has a scope of its own, "ingest", and is no API token."""

    READ = "read"
    """Looks, and changes nothing."""
    OPERATE = "operate"
    """Acts on senders, as the group operator does."""
    ADMIN = "admin"
    """Whatever its user may."""

    def covers(self, needed: Scope) -> bool:
        """Whether a token of this scope may do what needs that one."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)

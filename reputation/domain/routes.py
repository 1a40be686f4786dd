"""Which Postfix transport, hence which sending IP, a message leaves by.

A lookup is made several times for one message and spends nothing. Pools that only observe are shared out by weight
alone; pools that enforce leave out what must not send, and hold the mail of a provider that no IP may send to.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b

from reputation.domain.permit import Action, Ask, Candidate, decide
from reputation.domain.permit_book import PermitBook
from reputation.domain.pool import Member, in_order
from reputation.domain.postfix_wire import reply_text
from reputation.domain.sending_policy import Mode

# A message held back by a half-open breaker may be a probe at its next attempts: the lot is drawn anew so often.
LOT = timedelta(minutes=10)
_SECONDS = int(LOT.total_seconds())
# Looked up by recipient, a message has a sender, but Postfix does not say which (RFC 2606 keeps this name free).
_SOMEBODY = "somebody@unknown.invalid"


class MapName(StrEnum):
    """What a socketmap is keyed by: transport_maps by recipient, sender_dependent_default_transport_maps by sender."""

    RECIPIENT = "recipient"
    SENDER = "sender"


def lookup(book: PermitBook, name: str, key: str, now: datetime) -> str:
    """The answer to one socketmap lookup: `OK transport:`, `OK retry:…` or `NOTFOUND `. `name` may end in "-pool"."""
    kind, _, pool = name.partition("-")
    if kind not in set(MapName):
        return f"PERM there is no map {reply_text(name)[:40]}; use recipient, sender, recipient-POOL or sender-POOL"
    if pool and pool not in book.pools:
        return f"PERM there is no pool {reply_text(pool)[:60]}"
    by_sender = kind == MapName.SENDER
    ask = Ask(sender=key if by_sender else _SOMEBODY, recipient="" if by_sender else key, pool=pool)
    chosen = _chosen(book, ask, kind, now)
    if isinstance(chosen, Member):
        return f"OK {chosen.transport}" if ":" in chosen.transport else f"OK {chosen.transport}:"
    return f"OK retry:4.7.1 {reply_text(chosen)}" if chosen else "NOTFOUND "


def _chosen(book: PermitBook, ask: Ask, kind: str, now: datetime) -> Member | str:
    """The IP to use, or why there is none; empty: we know of no transport and have no say."""
    facts = book.facts(ask, now)
    candidates = [entry for entry in facts.candidates if entry.member.transport]
    if not candidates:
        return ""
    if facts.policy.mode is not Mode.ENFORCE:
        # What the policy only observes must change nothing: not even which IP sends.
        ordered = in_order([(entry.member, float(entry.member.weight)) for entry in candidates], ask.key(now))
        return _member(candidates, ordered[0]) if ordered else ""
    only_ips = replace(facts, breakers=(), caps=(), candidates=tuple(candidates))
    ruling = decide(ask, only_ips, {}, now)
    if ruling.action is not Action.ALLOW:
        return ruling.reason if kind == MapName.RECIPIENT else ""
    probing = _probing(candidates, ruling.ips)
    if probing is not None and not _drawn(ask.key(now), probing, now):
        return f"Every sending IP for this provider is half-open; {round(probing * 100)} % pass."
    return _member(candidates, ruling.ips[0])


def _member(candidates: list[Candidate], ip: str) -> Member:
    return next(entry.member for entry in candidates if entry.ip == ip)


def _probing(candidates: list[Candidate], ips: tuple[str, ...]) -> float | None:
    """The largest share among IPs that are all half-open; None where one is not and takes what the others leave."""
    able = [entry for entry in candidates if entry.ip in ips]
    shares = [min((float(allowed.share) for allowed in entry.breakers), default=1.0) for entry in able]
    return max(shares) if shares and max(shares) < 1 else None


def _drawn(key: str, share: float, now: datetime) -> bool:
    slot = int(now.timestamp()) // _SECONDS
    drawn = int.from_bytes(blake2b(f"{key}|{slot}".encode(), digest_size=8).digest(), "big")
    return drawn < share * 2**64

"""Stalwart's MTA hook: asks for permits for what a session is about to send.

Permits are counted at one stage, `data` or `rcpt`; at every other stage only what no counting can change is looked at
(breakers, standing), so that a hook which is configured for several stages counts nothing twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime
from typing import Any

from django.db import Error as DatabaseError

from reputation import permits
from reputation.domain.permit import Action, Answer, Ask, Rule
from reputation.domain.stalwart_hook import Count, HookCall, Stage, accepted, held_back
from telemetry.models import Source

log = logging.getLogger(__name__)

_UNCOUNTED = frozenset({Rule.BREAKER, Rule.BLACKLISTED, Rule.NO_SENDING_IP})


def answer(call: HookCall, source: Source, *, count: Count, now: datetime) -> dict[str, Any]:
    """What Stalwart is told. Raises nothing: while nobody can know, mail passes unless a policy says otherwise."""
    if not call.asks:
        return accepted()
    try:
        against = _against(call, _sole_ip(source), counts=call.stage is Stage(count.value), now=now)
    except DatabaseError as error:
        # There was never a book of permits in this process, so there is no policy to fail by.
        log.error("nobody can know whether this may be sent; it passes", extra={"error": type(error).__name__})
        return accepted()
    if against is None:
        return accepted()
    return held_back(against.reason, for_ever=against.action is Action.REJECT)


def _against(call: HookCall, ip: str, *, counts: bool, now: datetime) -> Answer | None:
    """The answer that holds this back; None: nothing does."""
    asks = _asks(call, ip)
    if not asks:
        return None
    if not counts:
        answers = permits.ask(asks, now=now, spend=False)
        return next((entry for entry in answers if _holds(entry) and entry.rule in _UNCOUNTED), None)
    if len(asks) > 1:
        # A message goes as a whole: nothing is spent for one provider where another holds it back.
        everybody = Ask(call.sender, recipients=sum(ask.recipients for ask in asks), ip=ip)
        looked = next(filter(_holds, permits.ask([*asks, everybody], now=now, spend=False)), None)
        if looked is not None:
            return looked
    answers = permits.ask(asks, now=now)
    for entry in answers:
        if entry.warns:
            log.warning("would be held back", extra={"sender": call.sender, "reason": entry.reason})
    return next(filter(_holds, answers), None)


def _holds(entry: Answer) -> bool:
    return entry.action is not Action.ALLOW


def _asks(call: HookCall, ip: str) -> list[Ask]:
    """One question per mailbox provider; none for reports, postmaster and abuse, which are never held back."""
    if Ask(call.sender).is_exempt:
        return []
    if not call.recipients:  # stage mail: nobody knows to whom yet
        return [Ask(call.sender, ip=ip)]
    directory = permits.desk().books.current().directory
    counted: Counter[str] = Counter()
    first: dict[str, str] = {}
    for recipient in call.recipients:
        if Ask(call.sender, recipient).is_exempt:
            continue
        provider = directory.provider("", recipient.rpartition("@")[2].lower())
        counted[provider] += 1
        first.setdefault(provider, recipient)
    return [Ask(call.sender, first[provider], provider, number, ip) for provider, number in sorted(counted.items())]


def _sole_ip(source: Source) -> str:
    """The IP that this Stalwart sends by, where it has but one; empty: whichever of the sending domain's pool."""
    addresses = set(source.ip_map.values())
    return addresses.pop() if len(addresses) == 1 else ""

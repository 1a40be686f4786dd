"""Tells the channels what is due: each message is claimed by one worker, tried again with growing pauses, and kept.

A worker that dies between sending and writing that down leaves a claim that runs out, and the message goes out once
more, under the same id: twice is better than never.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from django.conf import settings
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet

from reputation.alert_channels import ChannelError, tell
from reputation.alert_metrics import DELIVERIES
from reputation.domain.alerting import (
    Item,
    Kind,
    Message,
    News,
    Severity,
    next_attempt,
    not_before,
)
from reputation.models import AlertChannel, AlertDelivery

log = logging.getLogger(__name__)

# A message takes half a minute at most; whoever dies in it is followed after this time.
CLAIM: Final = timedelta(minutes=2)
# One run takes no further message after this, so that a worker is free for other work again.
LONGEST_RUN: Final = timedelta(seconds=45)
MOST_IN_MESSAGE: Final = 500
_MOST_READ = 5_000


class _Group(NamedTuple):
    """What goes out together: `message` is its id where it was tried before."""

    channel: int
    kind: str
    news: str
    message: str


def is_due(*, now: datetime) -> bool:
    """Whether anything waits to be told."""
    return _due(now).exists()


def deliver(*, now: datetime) -> int:
    """Send what is due; how many messages reached their channel."""
    began = time.monotonic()
    _drop_untold_recoveries()
    groups: dict[_Group, list[int]] = defaultdict(list)
    rows = _due(now).order_by("id").values_list("channel_id", "kind", "news", "message", "id")
    for channel, kind, news, message, pk in rows[:_MOST_READ]:
        groups[_Group(channel, kind, news, message)].append(pk)
    channels = AlertChannel.objects.in_bulk({group.channel for group in groups})
    sent, failing = 0, set()
    for group, keys in groups.items():
        if time.monotonic() - began > LONGEST_RUN.total_seconds():
            break
        if group.channel in failing or not _may_go(group, now):
            continue
        for start in range(0, len(keys), MOST_IN_MESSAGE):
            outcome = _send(channels[group.channel], keys[start : start + MOST_IN_MESSAGE], now)
            if outcome is False:
                failing.add(group.channel)  # its other messages would only wait for the same timeout
                break
            sent += bool(outcome)
    return sent


def send_test(channel: AlertChannel, *, now: datetime) -> str:
    """Send a test message at once; empty when it arrived, else the trouble's word."""
    item = Item(
        id=0,
        kind=Kind.STATUS,
        news=News.OPENED,
        severity=Severity.INFO,
        subject="Test",
        sentence="This is a test message of Good Standing. Nothing is wrong.",
        url=settings.PUBLIC_URL,
        opened_at=now,
    )
    return _attempt(channel, Message(str(uuid.uuid4()), (item,), is_test=True), now)


def _due(now: datetime) -> QuerySet[AlertDelivery]:
    free = Q(claim="") | Q(claimed_until__lte=now)
    rows = AlertDelivery.objects.filter(free, state=AlertDelivery.WAITING, due_at__lte=now, channel__is_enabled=True)
    # That it is over must not arrive before that it began.
    earlier = AlertDelivery.objects.filter(
        alert=OuterRef("alert"), channel=OuterRef("channel"), state=AlertDelivery.WAITING, pk__lt=OuterRef("pk")
    )
    return rows.exclude(Q(news=News.RECOVERED) & Exists(earlier))


def _drop_untold_recoveries() -> None:
    """Of what never reached a channel, its end need not be told there."""
    told = AlertDelivery.objects.filter(
        alert=OuterRef("alert"),
        channel=OuterRef("channel"),
        state__in=(AlertDelivery.SENT, AlertDelivery.WAITING),
        pk__lt=OuterRef("pk"),
    )
    waiting = AlertDelivery.objects.filter(state=AlertDelivery.WAITING, news=News.RECOVERED, attempts=0)
    waiting.exclude(Exists(told)).update(state=AlertDelivery.DROPPED)


def _may_go(group: _Group, now: datetime) -> bool:
    """Whether enough time has gone by since the last message of this sort; a repetition has waited long enough."""
    if group.message:
        return True
    before = AlertDelivery.objects.filter(channel=group.channel, kind=group.kind, news=group.news)
    last = before.aggregate(Max("sent_at"))["sent_at__max"]
    # One of the future was written by a clock that was wrong.
    return last is None or last > now or not_before(last, now) <= now


def _send(channel: AlertChannel, keys: list[int], now: datetime) -> bool | None:
    """Claim the rows, send them as one message, write down how it went; None where somebody else has them."""
    token = str(uuid.uuid4())
    AlertDelivery.objects.filter(
        Q(claim="") | Q(claimed_until__lte=now), pk__in=keys, state=AlertDelivery.WAITING, due_at__lte=now
    ).update(claim=token, claimed_until=now + CLAIM, attempts=F("attempts") + 1)
    held = AlertDelivery.objects.filter(claim=token)
    rows = list(held.select_related("alert", "event").order_by("id"))
    if not rows:
        return None
    message = Message(next((row.message for row in rows if row.message), token), tuple(_items(rows)))
    # Kept before it is sent: whoever follows after a crash sends the same message again and not another one.
    held.update(message=message.id)
    trouble = _attempt(channel, message, now)
    if not trouble:
        held.update(state=AlertDelivery.SENT, sent_at=now, error="", claim="", claimed_until=None)
        return True
    again = next_attempt(max(row.attempts for row in rows), now)
    state = AlertDelivery.WAITING if again else AlertDelivery.FAILED
    held.update(state=state, due_at=again or now, error=trouble, claim="", claimed_until=None)
    log.warning("an alert was not delivered", extra={"channel": channel.name, "error": trouble, "given_up": not again})
    return False


def _attempt(channel: AlertChannel, message: Message, now: datetime) -> str:
    try:
        tell(channel.url, message, key=channel.key, now=now)
    except ChannelError as error:
        trouble = error.trouble
        AlertChannel.objects.filter(pk=channel.pk).update(last_failed_at=now, last_error=trouble)
    else:
        trouble = ""
        AlertChannel.objects.filter(pk=channel.pk).update(last_ok_at=now, last_error="")
    DELIVERIES.labels(scheme=channel.scheme, outcome="failed" if trouble else "sent").inc()
    return trouble


def _items(rows: Iterable[AlertDelivery]) -> Iterable[Item]:
    for row in rows:
        alert, event = row.alert, row.event
        yield Item(
            id=alert.pk,
            kind=Kind(alert.kind),
            news=News(event.news),
            severity=Severity(event.severity),
            subject=alert.subject,
            sentence=event.sentence,
            url=settings.PUBLIC_URL + alert.link if settings.PUBLIC_URL and alert.link else "",
            opened_at=alert.opened_at,
        )

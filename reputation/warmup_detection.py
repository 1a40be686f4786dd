"""Finds sending IPs that are new and senders that are cold, and proposes or starts their warm-ups. Daily and on demand.

What is judged is what could have been seen. An installation, or a mail server, that was connected a moment ago sees all
its senders for the first time; they are new only where its events go back further than "new" or "idle" does. How far
back a source was watched is read from its day counters. Where a source reported nobody at all in the idle time, its
senders are proposed whatever the policy says: a cut-off source must not throttle everybody when it is back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Max, Min, Q, Sum

from reputation.domain.breaker_policy import Kind
from reputation.domain.warmup import local_date
from reputation.domain.warmup_policy import (
    BEGAN_WITHIN,
    DAY,
    GONE_AFTER,
    Found,
    OnDetection,
    Past,
    State,
    Step,
    WarmupPolicy,
    judge_domain,
    judge_ip,
)
from reputation.models import SendingIP, Warmup, WarmupTemplate
from reputation.warmup_acts import plan_of
from reputation.warmup_moves import Change, begin, move
from reputation.warmup_policies import WarmupBook, warmup_book
from telemetry.domain.cells import first_key, floor_day
from telemetry.domain.vocab import UNKNOWN_IP, VolumeReporting
from telemetry.models import TrafficDay
from telemetry.queries import volume_reporting
from telemetry.queries_order import NOBODY, SENDER_COLUMN

# A proposal that nobody confirmed or cancelled in this time is withdrawn, and its sender left alone as long.
PROPOSALS_STAND = timedelta(days=30)


def detect(*, now: datetime) -> int:
    """Look for new and cold senders; how many warm-ups were proposed or started."""
    _withdraw_old_proposals(now)
    book = warmup_book()
    if not any(_acts(policy) for policy in (book.default, *book.by_ip.values())):
        return 0
    templates = WarmupTemplate.objects.in_bulk(field_name="name")
    made = 0
    for kind, sender, past, (found, why) in [*_ips(book, now), *_domains(book, now)]:
        policy = book.policy_of(kind, sender)
        starts = policy.on_detection is OnDetection.START and past.was_reported
        doubt = "" if past.was_reported else " Nor had its source reported anybody in that time: was it cut off?"
        template = templates[policy.ip_template if kind == "ip" else policy.domain_template]
        change = _change(policy, template, why + doubt, starts=starts, now=now)
        made += begin(kind, sender, change, now=now, found=found) is not None
    return made


def _acts(policy: WarmupPolicy) -> bool:
    return policy.enabled and policy.on_detection is not OnDetection.OFF


def _ips(book: WarmupBook, now: datetime) -> Iterator[tuple[Kind, str, Past, tuple[Found, str]]]:
    policies = (book.default, *book.by_ip.values())
    pasts = {idle: _pasts("ip", idle, now) for idle in {policy.rewarm_after for policy in policies}}
    settled = _settled("ip", now)
    for ip, first_seen in SendingIP.objects.exclude(ip=UNKNOWN_IP).values_list("ip", "first_seen_at"):
        policy = book.policy_of("ip", ip)
        seen = pasts[policy.rewarm_after]
        past = seen.of(ip)
        if _acts(policy) and not settled(ip, past):
            judged = judge_ip(first_seen, past, policy, now)
            if judged is not None:
                yield "ip", ip, past, judged


def _domains(book: WarmupBook, now: datetime) -> Iterator[tuple[Kind, str, Past, tuple[Found, str]]]:
    policy = book.default
    if not _acts(policy):
        return
    seen, settled = _pasts("domain", policy.domain_idle, now), _settled("domain", now)
    for domain in sorted(seen.by_sender):
        past = seen.of(domain)
        if not settled(domain, past):
            judged = judge_domain(past, policy, now)
            if judged is not None:
                yield "domain", domain, past, judged


@dataclass(slots=True)
class _Seen:
    """What the day counters say of the senders of one kind."""

    by_sender: dict[str, Past] = field(default_factory=dict)
    watched_since: datetime | None = None
    """Since when any source was watched: for senders that nobody has reported yet."""

    def of(self, sender: str) -> Past:
        return self.by_sender.get(sender) or Past(watched_since=self.watched_since)


def _pasts(kind: Kind, idle: timedelta, now: datetime) -> _Seen:
    """The past of each sender with mail within `GONE_AFTER`; whole days, so the idle time is its whole days too."""
    column = SENDER_COLUMN[kind]
    until = floor_day(now - BEGAN_WITHIN)
    before = Q(bucket__gte=until - idle, bucket__lt=until)
    sums = {
        f"sum_{name}": Sum(name, filter=before, default=0)
        for name in ("delivered", "bounced", "deferred", "superseded")
    }
    rows = TrafficDay.objects.filter(id__gte=first_key(floor_day(now - GONE_AFTER)))
    rows = rows.exclude(**{column: NOBODY[kind]}).order_by().values_list(column, "source_id")
    summed: Any = rows.annotate(first=Min("bucket"), last=Max("bucket"), all_delivered=Sum("delivered"), **sums)
    found: list[Any] = list(summed)
    watched: dict[int, datetime] = {}
    for _, source, first, *_rest in found:
        watched[source] = min(first, watched.get(source, first))
    reporting = volume_reporting()
    delivering = {source for _, source, _, _, delivered, *_rest in found if delivered}
    reported = {source for _, source, _, _, _, *numbers in found if any(numbers)}
    parts: dict[str, list[Past]] = defaultdict(list)
    for sender, source, first, last, _, *numbers in found:
        delivered, bounced, deferred, superseded = (int(number) for number in numbers)
        how = reporting.get(source, VolumeReporting.AUTO)
        parts[sender].append(
            Past(
                sent_before=delivered + bounced + deferred - superseded,
                first_mail=first,
                last_mail=last,
                watched_since=watched[source],
                is_volume_known=how.is_whole_traffic(delivered=source in delivering),
                was_reported=source in reported,
            )
        )
    return _Seen(
        {sender: _together(pasts) for sender, pasts in parts.items()},
        min(watched.values(), default=None),
    )


def _together(pasts: list[Past]) -> Past:
    """One sender's past over all sources that report it: only what all of them would have seen is known."""
    return Past(
        sent_before=sum(past.sent_before for past in pasts),
        first_mail=min(past.first_mail for past in pasts if past.first_mail),
        last_mail=max(past.last_mail for past in pasts if past.last_mail),
        watched_since=max(past.watched_since for past in pasts if past.watched_since),
        is_volume_known=all(past.is_volume_known for past in pasts),
        was_reported=all(past.was_reported for past in pasts),
    )


def _settled(kind: Kind, now: datetime) -> Any:
    """Whether a sender shall be left alone: it warms up, did so lately, or has sent nothing since it did."""
    rows = Warmup.objects.filter(kind=kind).order_by()
    open_now = set(rows.filter(ended_at=None).values_list("sender", flat=True))
    last_ended: Any = rows.exclude(ended_at=None).values_list("sender").annotate(Max("ended_at"))
    ended: dict[str, datetime] = dict(last_ended)

    def settled(sender: str, past: Past) -> bool:
        if sender in open_now:
            return True
        last = ended.get(sender)
        if last is None:
            return False
        return last > now - PROPOSALS_STAND or past.last_mail is None or past.last_mail + DAY <= last

    return settled


def _change(policy: WarmupPolicy, template: WarmupTemplate, why: str, *, starts: bool, now: datetime) -> Change:
    plan = plan_of(template, policy.time_zone)
    if not starts:
        return Change(Step.PROPOSED, why, State.PROPOSED, 1, plan=plan, policy_revision=policy.revision)
    today = local_date(now, policy.time_zone)
    return Change(Step.STARTED, why, State.RUNNING, 1, today, plan=plan, policy_revision=policy.revision)


def _withdraw_old_proposals(now: datetime) -> None:
    why = f"Nobody confirmed it in {PROPOSALS_STAND.days} days."
    for row in Warmup.objects.filter(state=State.PROPOSED, created_at__lt=now - PROPOSALS_STAND).order_by("pk"):
        move(row, Change(Step.WITHDRAWN, why, State.CANCELLED, row.day), now=now)

"""Periodic work of this floor: idempotent ticks, each in its turn."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.db import transaction
from django.utils import timezone

from reputation import (
    alert_delivery,
    alert_watch,
    audits,
    blocklist_book,
    blocklist_watch,
    blocklists,
    breakers,
    history,
    metrics,
    overrides,
    scores,
    standing,
    warmup_detection,
    warmups,
)
from reputation.enforcement import kumomta
from telemetry import sql
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.turns import my_turn

log = logging.getLogger(__name__)

# Queue rows taken at once; a backlog is worked off in several transactions.
POLL_BATCH = 5_000


def _measured(what: str, work: Callable[[], Any]) -> Any:
    """Run the work and count the run, its duration and how it ended."""
    with metrics.RUN_SECONDS.labels(what=what).time():
        try:
            result = work()
        except Exception:
            metrics.RUNS.labels(what=what, outcome="failed").inc()
            raise
    metrics.RUNS.labels(what=what, outcome="done").inc()
    return result


@shared_task(name="reputation.tasks.poll_changes")
@my_turn("poll changed senders", lease=timedelta(seconds=20))
def poll_changes() -> None:
    """Judge the sending IPs that had events since the last poll: a change shows within seconds of its cause."""
    while _poll_once() >= POLL_BATCH:
        pass
    breakers.tick(now=timezone.now())


def _poll_once() -> int:
    """Take queued IPs away and judge them, in one transaction: a poll that dies leaves them queued."""
    with transaction.atomic():
        taken, changed = sql.take_changed(POLL_BATCH)
        changed.discard(UNKNOWN_IP)
        if changed:
            now = timezone.now()
            _measured("changed IPs", lambda: standing.score_ips(changed, now=now, only_changes=True))
    if changed:
        # After the commit: 24 hours are read, and nobody shall wait for that with a lock held. Should the process die
        # here, the full check every 15 minutes finds what this one would have.
        _measured("changed breakers", lambda: breakers.check_changed(changed, now=now))
    return taken


@shared_task(name="reputation.tasks.score_all")
@my_turn("score every sender", lease=timedelta(minutes=10))
def score_all() -> None:
    """Judge every active IP and score every active domain and IP."""
    now = timezone.now()
    ips = _measured("IPs", lambda: standing.score_ips(now=now))
    senders = _measured("senders", lambda: scores.score_senders(now=now))
    log.info("senders scored", extra={"ips": len(ips), "scores": senders})


@shared_task(name="reputation.tasks.check_breakers")
@my_turn("check every breaker", lease=timedelta(minutes=10))
def check_breakers() -> None:
    """Judge every sender with mail in the last 24 hours, and every breaker."""
    moved = _measured("breakers", lambda: breakers.check_all(now=timezone.now()))
    log.info("breakers checked", extra={"transitions": moved})


@shared_task(name="reputation.tasks.judge_warmups")
@my_turn("judge warm-ups", lease=timedelta(minutes=10))
def judge_warmups() -> None:
    """Judge the local days of warm-ups that have ended, in whichever time zone it is just past midnight."""
    moved = _measured("warm-ups", lambda: warmups.tick(now=timezone.now()))
    if moved:
        log.info("warm-ups judged", extra={"transitions": moved})


@shared_task(name="reputation.tasks.detect_warmups")
@my_turn("detect warm-ups", lease=timedelta(minutes=30))
def detect_warmups() -> None:
    """Look for new sending IPs and cold senders, and propose or start their warm-ups."""
    made = _measured("warm-up detection", lambda: warmup_detection.detect(now=timezone.now()))
    log.info("new senders looked for", extra={"warmups": made})


@shared_task(name="reputation.tasks.audit_due")
@my_turn("audit senders that are due", lease=timedelta(minutes=10))
def audit_due() -> None:
    """Audit the DNS of senders that are new, and of those whose week is over."""
    done = _measured("weekly audits", lambda: audits.audit_due(now=timezone.now()))
    if done:
        log.info("senders audited", extra={"audits": done})


@shared_task(name="reputation.tasks.audit_refused")
@my_turn("audit refused senders", lease=timedelta(minutes=10))
def audit_refused() -> None:
    """Audit the DNS of senders that were refused for authentication or DNS lately."""
    done = _measured("audits by causes", lambda: audits.audit_refused(now=timezone.now()))
    if done:
        log.info("refused senders audited", extra={"audits": done})


@shared_task(name="reputation.tasks.expire_overrides")
@my_turn("expire overrides", lease=timedelta(seconds=60))
def expire_overrides() -> None:
    """End overrides whose time is over."""
    ended = overrides.expire(now=timezone.now())
    if ended:
        log.info("overrides expired", extra={"ended": ended})


@shared_task(name="reputation.tasks.apply_to_kumomta")
@my_turn("apply to KumoMTA", lease=timedelta(seconds=60))
def apply_to_kumomta() -> None:
    """Tell every KumoMTA what the breakers hold back."""
    kumomta.apply_all(now=timezone.now())


@shared_task(name="reputation.tasks.notice_status_changes")
@my_turn("notice changes of status", lease=timedelta(seconds=60))
def notice_status_changes() -> None:
    """Have IPs looked up on blocklists at once whose status changed."""
    if blocklist_watch.notice_changes(now=timezone.now()):
        _check_due_blocklists()


@shared_task(name="reputation.tasks.check_blocklists")
@my_turn("plan blocklist checks", lease=timedelta(seconds=60))
def check_blocklists() -> None:
    """See that every sender has its rows, and have the shards checked in which something is due."""
    made = blocklist_watch.plan(blocklist_book.asked_lists().values(), now=timezone.now())
    if made:
        log.info("blocklist checks planned", extra={"pairs": made})
    _check_due_blocklists()


def _check_due_blocklists() -> None:
    for shard in blocklists.due_shards(now=timezone.now()):
        check_blocklist_shard.apply_async(args=(shard,), expires=30)


@shared_task(name="reputation.tasks.check_blocklist_shard")
def check_blocklist_shard(shard: int) -> None:
    """Ask blocklists what is due in one shard; by its lease one worker at a time, which bounds the sockets of all."""
    ran = my_turn(f"check blocklists, part {shard + 1}", lease=timedelta(minutes=2))(
        lambda: _measured("blocklists", lambda: blocklists.check_due(shard, now=timezone.now()))
    )()
    if ran is not None and (ran.asked or ran.late):
        log.info("blocklists asked", extra={"part": shard + 1, "asked": ran.asked, "late": ran.late})


@shared_task(name="reputation.tasks.raise_alerts")
@my_turn("raise alerts", lease=timedelta(seconds=60))
def raise_alerts() -> None:
    """Raise alerts from what is new, and have told whoever is to be told by now."""
    raised = _measured("alerts", lambda: alert_watch.tick(now=timezone.now()))
    if raised:
        log.info("alerts changed", extra={"changes": raised})
    if alert_delivery.is_due(now=timezone.now()):
        deliver_alerts.apply_async(expires=15)


@shared_task(name="reputation.tasks.deliver_alerts")
def deliver_alerts() -> None:
    """Tell the channels. In no turn: each message is claimed by one worker, and a slow channel holds up no other."""
    sent = alert_delivery.deliver(now=timezone.now())
    if sent:
        log.info("alerts delivered", extra={"messages": sent})


@shared_task(name="reputation.tasks.clean_up")
@my_turn("clean up reputation", lease=timedelta(minutes=30))
def clean_up() -> None:
    """Delete history that is past its time."""
    removed = history.clean_up(now=timezone.now())
    log.info("reputation cleaned up", extra=removed)

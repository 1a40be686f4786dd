"""Tells KumoMTAs to hold back what open breakers hold back: read what is there, make the calls that are missing.

Nothing is remembered between runs but what was found, so a KumoMTA that was restarted (and forgot) is told anew by the
next run, and two runs at once do no more than the same thing twice. Only pools in the mode "enforce" have a say.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.core.exceptions import ImproperlyConfigured

from reputation import breakers, sending_policies
from reputation.domain.breaker import Allowance
from reputation.domain.breaker_policy import Scope, State
from reputation.domain.kumomta import SUSPEND_READY, Act, Call, Listed, Plan, calls, plan
from reputation.domain.permit import Ask
from reputation.domain.permit_book import PermitBook
from reputation.domain.sending_policy import Mode
from reputation.enforcement.kumomta_api import METRICS, KumoApi, KumoError
from reputation.models import Breaker, BreakerEvent, KumoAct, KumoServer, Pool, PoolDomain, SendingIP
from telemetry import mailbox_providers

log = logging.getLogger(__name__)

# A server is told of a transition by the next run, and looked at this often in case it was restarted …
EVERY = timedelta(seconds=10)
# … or this often, where it has nothing of ours and shall have nothing.
IDLE = timedelta(minutes=1)
# One that does not answer is asked again after this time, twice as long each time up to the longest.
FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(minutes=1)
# What one server may take of a run; the rest of its calls is made by the next one, after the other servers' turn.
LONGEST_TURN = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a run did at one server."""

    suspended: int = 0
    renewed: int = 0
    lifted: int = 0
    failed: int = 0
    left: int = 0
    """Calls that were not tried."""
    error: str = ""
    untold: tuple[tuple[Scope, str], ...] = ()
    skipped: bool = False

    @property
    def made(self) -> int:
        """How many calls changed something."""
        return self.suspended + self.renewed + self.lifted


def apply_all(*, now: datetime) -> dict[str, Applied]:
    """Bring every active server to what the breakers say; a server that does not answer stops no other."""
    servers = list(KumoServer.objects.filter(is_active=True).order_by("pk"))
    if not servers:
        return {}
    newest = newest_event()
    bound = binding(now=now)
    done: dict[str, Applied] = {}
    for server in servers:
        wait = _may_wait(server, newest, bound, now)
        done[server.name] = Applied(skipped=True) if wait else apply(server, now=now, newest=newest, bound=bound)
    for name, applied in done.items():
        if applied.made or applied.failed:
            log.warning(
                "KumoMTA was told",
                extra={"server": name, "calls": applied.made, "failed": applied.failed, "error": applied.error},
            )
    return done


def newest_event() -> int:
    """The newest transition of any breaker; to be read before the breakers are."""
    return BreakerEvent.objects.order_by("-id").values_list("pk", flat=True).first() or 0


def binding(*, now: datetime) -> list[Allowance]:
    """What the breakers hold back in pools whose policy enforces, by scope."""
    if not Breaker.objects.exclude(state=State.CLOSED).exists():
        return []
    book = _book(now)
    return [entry for scope, entry in sorted(book.breakers.by_scope.items()) if binds(scope, book)]


def binds(scope: Scope, book: PermitBook) -> bool:
    """Whether the pool that this scope's mail leaves by enforces."""
    ask = Ask(sender="", ip=scope.sender) if scope.kind == "ip" else Ask(sender=scope.sender)
    return book.policy_of(book.pool_of(ask)).mode is Mode.ENFORCE


def _book(now: datetime) -> PermitBook:
    """Breakers, and whose pool enforces: of what permits go by no more than that is needed here."""
    default = Pool.objects.filter(is_default=True).values_list("name", flat=True).first() or "default"
    return PermitBook(
        default_pool=default,
        policies=sending_policies.policies(),
        pools={},
        pool_of_domain=dict(PoolDomain.objects.order_by().values_list("domain", "pool__name")),
        pool_of_ip=dict(SendingIP.objects.exclude(pool=None).order_by().values_list("ip", "pool__name")),
        breakers=breakers.standing_for(now=now),
    )


def apply(
    server: KumoServer, *, now: datetime, newest: int | None = None, bound: list[Allowance] | None = None
) -> Applied:
    """Bring one server to what the breakers say. `bound` and `newest` are read where they are not given."""
    newest = newest_event() if newest is None else newest
    bound = binding(now=now) if bound is None else bound
    try:
        api = _api(server)
        listed = api.suspensions()
        wanted = _plan(server, api, bound, listed)
    except KumoError as error:
        _note_failure(server, error, Act.READ, now)
        return Applied(failed=1, error=str(error))
    applied = Applied(untold=wanted.untold)
    due, began = calls(wanted.wanted, listed, now), time.monotonic()
    for number, call in enumerate(due):
        if time.monotonic() - began >= LONGEST_TURN.total_seconds():
            applied = replace(applied, left=len(due) - number)
            break
        try:
            done = api.make(call)
        except KumoError as error:
            _write(server, call, now, error=error)
            applied = replace(applied, failed=applied.failed + 1, error=str(error))
            if error.status is None:  # nobody is there; the rest can wait for the next run
                applied = replace(applied, left=len(due) - number - 1)
                break
        else:
            _write(server, call, now, status=done.status, answer_id=done.id)
            applied = _counted(applied, call.act)
    ours = sum(entry.is_ours for entry in listed)
    whole = not applied.failed and not applied.left
    if whole:
        server.seen_event = newest
    _note(server, now, applied.error, ours + applied.suspended - applied.lifted if whole else None)
    return applied


def look(server: KumoServer, *, now: datetime) -> tuple[list[Listed], Plan]:
    """What is suspended there, and what should be; nothing is changed. Raises KumoError."""
    api = _api(server)
    listed = api.suspensions()
    return listed, _plan(server, api, binding(now=now), listed)


def try_connection(server: KumoServer, *, now: datetime) -> str:
    """What a call of the server says, in a sentence. Raises KumoError; either way there is a row of it."""
    try:
        api = _api(server)
        listed = api.suspensions()
        queues = len(api.ready_queues())
    except KumoError as error:
        _note_failure(server, error, Act.TEST, now)
        raise
    _write(server, _reading(Act.TEST), now, status=200)
    ours = sum(entry.is_ours for entry in listed)
    _note(server, now, "", ours)
    return f"It answers: {len(listed)} suspensions, {ours} of them ours; {queues} ready queues in use."


def _api(server: KumoServer) -> KumoApi:
    try:
        return KumoApi(server.url, server.login)
    except ImproperlyConfigured as error:  # one login that cannot be unsealed must not stop the other servers
        raise KumoError(str(error)) from None


def _plan(server: KumoServer, api: KumoApi, bound: list[Allowance], listed: list[Listed]) -> Plan:
    queues: set[str] = set()
    if any(entry.scope is not None and entry.scope.kind == "ip" and not entry.share for entry in bound):
        # A paused queue may be idle enough to be in no metric, and is still meant.
        queues = api.ready_queues() | {dict(entry.criteria)["name"] for entry in listed if entry.path == SUSPEND_READY}
    return plan(bound, server.names, mailbox_providers.directory(), queues)


def _may_wait(server: KumoServer, newest: int, bound: list[Allowance], now: datetime) -> bool:
    if server.checked_at is None:
        return False
    # A run comes a little earlier or later than the one before.
    since = now - server.checked_at + timedelta(seconds=1)
    if server.failures:
        return since < min(FIRST_RETRY * (1 << min(server.failures - 1, 10)), LONGEST_RETRY)
    if server.seen_event != newest:
        return False
    return since < (EVERY if bound or server.suspensions != 0 else IDLE)


def _counted(applied: Applied, act: Act) -> Applied:
    if act is Act.SUSPEND:
        return replace(applied, suspended=applied.suspended + 1)
    if act is Act.RENEW:
        return replace(applied, renewed=applied.renewed + 1)
    return replace(applied, lifted=applied.lifted + 1)


def _reading(act: Act) -> Call:
    return Call(act, "GET", METRICS if act is Act.TEST else "/api/admin/suspend/v1", {}, None)


def _write(
    server: KumoServer,
    call: Call,
    now: datetime,
    *,
    status: int | None = None,
    answer_id: str = "",
    error: KumoError | None = None,
) -> None:
    scope, event = call.scope, None
    made = None
    if call.act is Act.LIFT:
        answer_id = answer_id or str(call.body.get("id", ""))
        made = KumoAct.objects.filter(server=server, answer_id=answer_id).exclude(kind="").first()
    if made is not None:
        scope = Scope("ip" if made.kind == "ip" else "domain", made.sender, made.provider)
    if scope is not None:
        rows = BreakerEvent.objects.filter(
            breaker__kind=scope.kind, breaker__sender=scope.sender, breaker__provider=scope.provider
        )
        event = rows.order_by("-id").values_list("pk", flat=True).first()
    KumoAct.objects.create(
        server=server,
        at=now,
        act=call.act,
        method=call.method,
        path=call.path,
        kind=scope.kind if scope else "",
        sender=scope.sender if scope else "",
        provider=scope.provider if scope else "",
        breaker_event=event,
        body=dict(call.body),
        status=error.status if error else status,
        answer_id=answer_id[:64],
        error=str(error)[:500] if error else "",
    )


def _note_failure(server: KumoServer, error: KumoError, act: Act, now: datetime) -> None:
    # One row where it begins, or where a person asked: an outage of an hour is one thing and not 300.
    if act is Act.TEST or not server.failures:
        _write(server, _reading(act), now, error=error)
    _note(server, now, str(error), server.suspensions)


def _note(server: KumoServer, now: datetime, error: str, suspensions: int | None) -> None:
    server.checked_at, server.error, server.suspensions = now, error[:500], suspensions
    server.failures = server.failures + 1 if error else 0
    server.save(update_fields=["checked_at", "error", "suspensions", "failures", "seen_event"])

"""Pages and lists read from a read replica, when there is one (GS_REPLICA_URL); all else stays on the primary.

A request may read from the replica when it is a GET of a page or of the API by somebody who is logged in. Then the
tables in `SHOWN` come from the replica, all of them or none during one request. Tables that decide who may do what, and
tables that a process remembers (rules, providers, retention, policies), are read from the primary even then, so nothing
that is decided rests on an old row. Inside a transaction, and in tasks, commands, webhooks, the admin and every request
that writes, there is no replica. A view that answers GET but decides says so by an attribute ``decides = True``.

Nobody misses an own write: after a request that may have written, the primary's position in its log is kept with the
user, on the primary, and that user's pages come from the replica only once it has replayed so far. That holds for
sessions and API tokens, whichever machine takes the next request, and waits no longer than needed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from django.contrib.sessions.models import Session
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections
from django.db import Error as DatabaseError
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from prometheus_client import Counter

from reputation_site.replica_watch import REPLICA, WATCH, register, written_position
from telemetry.secrets import digest

log = logging.getLogger(__name__)

# What grows with mail and is only looked at. A table that is not here is read from the primary.
SHOWN = frozenset(
    {
        "telemetry.sendingevent",
        "telemetry.trafficminute",
        "telemetry.traffichour",
        "telemetry.trafficday",
        "telemetry.refusalminute",
        "telemetry.refusalhour",
        "telemetry.refusalday",
        # Says up to when the hour tables are complete: it must come from where they come from.
        "telemetry.rollupmark",
        "telemetry.volumereport",
        "telemetry.rejectedevent",
        "reputation.ipstanding",
        "reputation.ipstandinghistory",
        "reputation.senderscore",
        "reputation.senderscorehistory",
        "reputation.override",
        "reputation.auditentry",
    }
)
SAFE = frozenset({"GET", "HEAD"})
# Longer than the most lag that may be allowed: after that the lag alone says that the write has arrived.
WRITE_KEPT = timedelta(minutes=10)
# Positions are kept as text of this many digits, so that text order is their order.
_DIGITS = 20

PAGE_READS = Counter(
    "page_reads", "Requests that might read from the replica, by where they read and why.", ["database", "why"]
)
_route: ContextVar[_Route | None] = ContextVar("route", default=None)


class _Route:
    """Where one request reads what it shows."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._chosen = ""
        self.failed = False

    def database(self) -> str:
        """The alias; chosen at the first read, when it is known who is asking."""
        if not self._chosen:
            why = self._why_not_replica()
            self._chosen = DEFAULT_DB_ALIAS if why else REPLICA
            PAGE_READS.labels(database="primary" if why else "replica", why=why or "fresh").inc()
        return self._chosen

    def _why_not_replica(self) -> str:
        user = self._request.user
        if not user.is_authenticated:
            return "nobody"
        why = WATCH.why_not(last_write(user.pk))
        if not why:
            try:
                # Connects, or looks whether the connection of an earlier request is still good.
                connections[REPLICA].cursor().close()
            except DatabaseError as error:
                self._it_failed(error)
                why = "down"
        return why

    def noting_failure(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        """Runs a statement on the replica; a wrapper for ``execute_wrapper``."""
        try:
            return execute(sql, params, many, context)
        except (OperationalError, InterfaceError) as error:
            self.failed = True
            self._it_failed(error)
            raise

    def _it_failed(self, error: DatabaseError) -> None:
        WATCH.it_failed(error)
        connections[REPLICA].close()


class Router:
    """Sends reads of what is shown where the request's route says; writes to the primary."""

    def db_for_read(self, model: type[Model], **_: Any) -> str:
        """The replica for what is shown, within a request that may read there and outside of transactions."""
        route = _route.get()
        if route is None or model._meta.label_lower not in SHOWN or connections[DEFAULT_DB_ALIAS].in_atomic_block:
            return DEFAULT_DB_ALIAS
        return route.database()

    def db_for_write(self, model: type[Model], **_: Any) -> str:
        """The primary, for rows that were read from the replica too."""
        return DEFAULT_DB_ALIAS

    def allow_relation(self, one: Model, other: Model, **_: Any) -> bool:
        """Rows of both are rows of one database."""
        return True

    def allow_migrate(self, database: str, app_label: str, **_: Any) -> bool:
        """The replica gets its tables from the primary."""
        return database != REPLICA


class Middleware:
    """Gives safe requests a route, and notes who wrote. Last in the list: it runs the view itself."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer, and after a request that may have written keep up to where its user must be shown things."""
        response = self._get_response(request)
        if request.method not in SAFE and request.user.is_authenticated:
            try:
                note_write(request.user.pk)
            except DatabaseError:
                # What was written is written: the answer must say so, even if a page may lag behind it once.
                log.exception("the position of a write was not kept")
        return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponseBase], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        """The view's answer, read from the replica where that may be.

        None when the view reads from the primary: also when the replica failed on the way, and the view is run again.
        """
        if not _may_read_from_replica(request, view):
            return None
        route = _Route(request)
        token = _route.set(route)
        try:
            with connections[REPLICA].execute_wrapper(route.noting_failure):
                response = view(request, *args, **kwargs)
                if isinstance(response, HttpResponse) and callable(render := getattr(response, "render", None)):
                    response = render()
        except DatabaseError:
            if not route.failed:
                raise
            return None
        finally:
            _route.reset(token)
        return None if route.failed else response


def _may_read_from_replica(request: HttpRequest, view: Callable[..., HttpResponseBase]) -> bool:
    match = request.resolver_match
    if request.method not in SAFE or match is None or getattr(getattr(view, "cls", view), "decides", False):
        return False
    return match.app_name == "dashboard" or match.route.startswith("api/")


def note_write(user_id: int) -> None:
    """Remember that this user may have written up to now; a later position is never replaced by an earlier one."""
    key, position = _key(user_id), f"{written_position():0{_DIGITS}d}"
    until = timezone.now() + WRITE_KEPT
    Session.objects.bulk_create([Session(session_key=key, session_data="", expire_date=until)], ignore_conflicts=True)
    Session.objects.filter(pk=key, session_data__lt=position).update(session_data=position, expire_date=until)


def last_write(user_id: int) -> int:
    """The position up to which this user may have written lately; 0 when there was nothing."""
    rows = Session.objects.filter(pk=_key(user_id), expire_date__gt=timezone.now())
    return int(rows.values_list("session_data", flat=True).first() or 0)


def _key(user_id: int) -> str:
    # Beside the sessions, since every machine asks there anyway and old rows are cleaned up; under a key that no cookie
    # can name without our secret.
    return digest("last-write", str(user_id))[:40]


register(WATCH)

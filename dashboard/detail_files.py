"""The lists on the page of one thing as files: of a sender, pool, source, provider, breaker, warm-up or alert.

Each holds the whole list where the page may show its newest lines only. Lists with pages and filters of their own
(refusals, failures, rates, scores of a sender) are files at their own address: see dashboard.sender_tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import chain, islice

from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils import timezone

from dashboard.files import AT_ONCE, DetailFile, Make, Rows, found, number
from dashboard.pages import provider as one_provider
from dashboard.pages import sources
from dashboard.sender_files import OF_DOMAIN, OF_IP, WARMUP_DAYS, days_of
from dashboard.tables import csv_answer
from dashboard.views import staff_page
from reputation.models import Alert, AlertDelivery, Breaker, Pool, PoolDomain, SendingIP, Warmup
from reputation.pools import pool_now
from telemetry.completeness_lines import by_day, by_hour
from telemetry.domain.completeness import Line
from telemetry.models import Source


# --- a pool ----------------------------------------------------------------------------------------------------
def _members(name: str, now: datetime) -> Rows:
    pool = found(Pool.objects.filter(pk=number(name)).first())
    labels = dict(SendingIP.objects.exclude(label="").values_list("ip", "label"))
    for line in pool_now(pool, now=now).members:
        share = (line.weight, line.share, line.share_by_weight, line.is_backup, line.why, line.until)
        yield (line.ip, labels.get(line.ip, ""), line.status.value, *share, "; ".join(line.at_providers))


def _pool_domains(name: str, now: datetime) -> Rows:
    pool = found(Pool.objects.filter(pk=number(name)).first())
    return PoolDomain.objects.filter(pool=pool).order_by("domain").values_list("domain").iterator(chunk_size=AT_ONCE)


# --- a source --------------------------------------------------------------------------------------------------
_LINES = ("start", "end", "delivered_share", "missing", "server_delivered", "arrived_delivered", "server_refused")
_MORE_LINES = ("server_bounced", "arrived_failed", "was_restarted")


def _completeness(read: Callable[..., Iterable[Line]]) -> Make:
    def rows(name: str, now: datetime) -> Rows:
        for line in read(_source(name).pk, now=now):
            server = (line.server_delivered, line.arrived_delivered, line.server_refused, line.server_bounced)
            yield (
                line.start,
                line.end,
                line.delivered_share,
                line.missing,
                *server,
                line.arrived_failed,
                line.restarted,
            )

    return rows


def _newest(name: str, now: datetime) -> Rows:
    for event in sources.live(_source(name), now=now).events:
        yield (event.at, event.type, event.sending_ip, event.recipient_domain, event.code, event.reply, event.is_test)


def _source(name: str) -> Source:
    return found(Source.objects.filter(name=name).first())


# --- a provider, breaker, warm-up, alert -------------------------------------------------------------------------
def _causes(name: str, now: datetime) -> Rows:
    return one_provider.causes_at(name, now=now)


def _breaker_timeline(name: str, now: datetime) -> Rows:
    row = found(Breaker.objects.filter(pk=number(name)).first())
    columns = ("at", "from_state", "to_state", "step", "trigger", "value", "threshold", "volume", "reopen_at")
    return row.events.order_by("-id").values_list(*columns, "triggered_by", "notes").iterator(chunk_size=AT_ONCE)


def _warmup_timeline(name: str, now: datetime) -> Rows:
    row = found(Warmup.objects.filter(pk=number(name)).first())
    columns = ("at", "step", "from_day", "to_day", "on_date", "used", "planned", "standing", "triggered_by", "notes")
    return row.events.order_by("-id").values_list(*columns).iterator(chunk_size=AT_ONCE)


def _days(name: str, now: datetime) -> Rows:
    return days_of(found(Warmup.objects.filter(pk=number(name)).first()))


def _alert_timeline(name: str, now: datetime) -> Rows:
    row = found(Alert.objects.filter(pk=number(name)).first())
    columns = ("at", "news", "severity", "triggered_by", "sentence", "note")
    return row.events.order_by("-id").values_list(*columns).iterator(chunk_size=AT_ONCE)


def _deliveries(name: str, now: datetime) -> Rows:
    row = found(Alert.objects.filter(pk=number(name)).first())
    columns = ("created_at", "news", "channel__name", "rule__name", "state", "attempts", "error", "due_at", "sent_at")
    return AlertDelivery.objects.filter(alert=row).order_by("-id").values_list(*columns)


FILES: dict[str, dict[str, DetailFile]] = {
    "ip": OF_IP,
    "domain": OF_DOMAIN,
    "pool": {
        "members": DetailFile(
            (
                "ip",
                "label",
                "status",
                "weight",
                "share",
                "share_by_weight",
                "is_backup",
                "why",
                "until",
                "at_providers",
            ),
            _members,
        ),
        "domains": DetailFile(("domain",), _pool_domains),
    },
    "source": {
        "hours": DetailFile((*_LINES, *_MORE_LINES), _completeness(by_hour)),
        "days": DetailFile((*_LINES, *_MORE_LINES), _completeness(by_day)),
        "newest": DetailFile(
            ("at", "type", "sending_ip", "recipient_domain", "code", "reply", "is_test"),
            _newest,
        ),
    },
    "provider": {"causes": DetailFile(("code", "cause", "attempts"), _causes)},
    "breaker": {
        "timeline": DetailFile(
            ("at", "from", "to", "step", "trigger", "value", "threshold", "volume", "next_probe_at", "by", "notes"),
            _breaker_timeline,
        ),
    },
    "warmup": {
        "timeline": DetailFile(
            ("at", "what", "from_day", "to_day", "on_date", "used", "planned", "standing", "by", "notes"),
            _warmup_timeline,
        ),
        "days": DetailFile(WARMUP_DAYS, _days),
    },
    "alert": {
        "timeline": DetailFile(("at", "what", "severity", "by", "sentence", "note"), _alert_timeline),
        "deliveries": DetailFile(
            ("at", "what", "channel", "rule", "state", "attempts", "error", "due_at", "sent_at"), _deliveries
        ),
    },
}


@staff_page
def download(request: HttpRequest, kind: str, name: str, what: str) -> HttpResponseBase:
    """One list of one thing as CSV."""
    file = FILES.get(kind, {}).get(what)
    if file is None:
        raise Http404
    rows = iter(file.rows(name, timezone.now()))
    # The first row is read now, so that a thing that is not there is a 404 and no empty file.
    return csv_answer(f"{kind}-{name}-{what}", file.header, chain(list(islice(rows, 1)), rows))

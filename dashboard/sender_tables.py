"""The lists of a sender in full: refusals and failures in pages, and every list as a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect

from dashboard import queries
from dashboard.pages.parts import ScoreLine, failure_lines
from dashboard.pages.rates import RateLine, rates_of
from dashboard.pages.refusals import (
    MOST_PAGED,
    ON_A_PAGE,
    failure_columns,
    failure_rows,
    failure_table,
    filter_form,
    refusal_lines,
)
from dashboard.sender_acts import Sender
from dashboard.sender_filters import SenderFilters
from dashboard.tables import csv_answer, table_page, wants_csv
from dashboard.views import show_page

Table = Callable[[HttpRequest, Sender, SenderFilters, datetime], HttpResponseBase]
SEES_EVENTS = "telemetry.view_sendingevent"
_AT_ONCE = 2_000
_RATES = (
    *("sent", "delivered", "bounced", "deferred", "refused", "complaints"),
    *("refused_of_sent", "bounced_of_delivered_and_bounced", "complaints_of_delivered"),
)


def refusals(request: HttpRequest, sender: Sender, filters: SenderFilters, now: datetime) -> HttpResponseBase:
    """Refused attempts by provider, code and cause."""
    lines = refusal_lines(sender.kind, sender.name, filters, now=now)
    if wants_csv(request):
        rows = ([line.provider, line.code, line.cause, line.count] for line in lines)
        return csv_answer(f"refusals-{sender.name}", ["provider", "code", "cause", "attempts"], rows)
    return _show(
        request, sender, filters, now, "refusals", "Refusals", {"table": table_page(request, lines, ON_A_PAGE)}
    )


def failures(request: HttpRequest, sender: Sender, filters: SenderFilters, now: datetime) -> HttpResponseBase:
    """Failing events with what the receivers said."""
    rows = failure_rows(sender.kind, sender.name, filters, now=now)
    if wants_csv(request):
        full = request.user.has_perm(SEES_EVENTS)
        lines = failure_table(rows.iterator(chunk_size=_AT_ONCE), with_recipients=full)
        return csv_answer(f"failures-{sender.name}", failure_columns(with_recipients=full), lines)
    # Slicing bounds the count: of a bad day there may be millions.
    table = table_page(request, rows[:MOST_PAGED], ON_A_PAGE)
    context = {"table": table, "lines": list(failure_lines(table.rows)), "is_cut": table.total == MOST_PAGED}
    return _show(request, sender, filters, now, "failures", "Failures", context)


def scores(request: HttpRequest, sender: Sender, filters: SenderFilters, now: datetime) -> HttpResponseBase:
    """The scores by mailbox provider; as a file only, the page shows them all."""
    if not wants_csv(request):
        return redirect(f"dashboard:{sender.kind}", sender.name)
    lines = [ScoreLine.of(row) for row in queries.scores_of(sender.kind, sender.name)]
    header = ["provider", "score", "certainty", "delivered", "bounced", "deferred", "complaints"]
    header += ["delivery_rate", "bounce_rate", "complaint_rate", "recent_mail", "computed_at"]
    rows = (
        [
            line.provider or "all",
            line.score,
            line.confidence,
            line.delivered,
            line.bounced,
            line.deferred,
            line.complained,
            *(rate.value if rate else None for rate in (line.delivery, line.bounce, line.complaint)),
            "yes" if line.has_recent_mail else "no",
            line.computed_at,
        ]
        for line in lines
    )
    return csv_answer(f"scores-{sender.name}", header, rows)


def rates(request: HttpRequest, sender: Sender, filters: SenderFilters, now: datetime) -> HttpResponseBase:
    """The rates over time; as a file only, the page shows them all."""
    if not wants_csv(request):
        return redirect(f"dashboard:{sender.kind}", sender.name)
    found = rates_of(sender.kind, sender.name, filters, now=now)
    rows = ((step.start, *_numbers(step.rates)) for step in found.steps)
    return csv_answer(f"rates-{filters.range.id}-{sender.name}", ["start", *_RATES], rows)


def provider_rates(request: HttpRequest, sender: Sender, filters: SenderFilters, now: datetime) -> HttpResponseBase:
    """The rates of the range by mailbox provider, all of them; as a file only."""
    if not wants_csv(request):
        return redirect(f"dashboard:{sender.kind}", sender.name)
    found = rates_of(sender.kind, sender.name, filters, now=now, most_providers=None)
    rows = ((row.title, *_numbers(row.rates)) for row in found.providers)
    return csv_answer(f"provider-rates-{filters.range.id}-{sender.name}", ["provider", *_RATES], rows)


def _numbers(line: RateLine) -> tuple[object, ...]:
    counts = (line.sent, line.delivered, line.bounced, line.deferred, line.rejected, line.complained)
    return (*counts, line.share, line.bounce, line.complaint)


TABLES: Mapping[str, Table] = {
    "refusals": refusals,
    "failures": failures,
    "scores": scores,
    "rates": rates,
    "provider-rates": provider_rates,
}


def _show(
    request: HttpRequest,
    sender: Sender,
    filters: SenderFilters,
    now: datetime,
    name: str,
    title: str,
    context: dict[str, object],
) -> HttpResponseBase:
    frame = {"sender": sender, "filters": filters, "form": filter_form(filters), "now": now, "what": title}
    return show_page(request, f"dashboard/sender_{name}.html", f"{title} of {sender.name}", {**frame, **context})

"""The pages of the whole fleet: by mailbox provider, breakers, warm-ups. Thin views over page contexts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone

from dashboard import fleet_queries as queries
from dashboard.choices import asked, asked_text, choices
from dashboard.fleet_forms import OpenBreakerForm, ReasonForm, StartWarmupForm, breaker_acts, warmup_act_forms
from dashboard.pages import breaker_list as breakers
from dashboard.pages import provider as one_provider
from dashboard.pages import providers
from dashboard.pages import warmup_list as warmups
from dashboard.tables import csv_answer, table_page, wants_csv
from dashboard.views import not_found, show_page, staff_page
from reputation.models import Breaker, Warmup
from telemetry.mailbox_providers import directory

# A card takes more room than a line of a table.
CARDS_SHOWN = 20
EVENTS_SHOWN = 50


@staff_page
def provider_list(request: HttpRequest) -> HttpResponseBase:
    """Sending IPs by mailbox providers."""
    page = providers.providers_page(
        range_id=asked(request, "range", list(providers.RANGES), providers.DEFAULT_RANGE),
        pool=asked_text(request, "pool"),
        provider=asked_text(request, "provider"),
        now=timezone.now(),
    )
    if wants_csv(request):
        return csv_answer("providers", providers.CSV_HEADER, providers.csv_rows(page))
    context = {"page": page, "table": table_page(request, page.rows)}
    return show_page(request, "dashboard/providers.html", "By mailbox provider", context)


@staff_page
def provider(request: HttpRequest, provider: str) -> HttpResponseBase:
    """One mailbox provider."""
    kind, text = asked(request, "of", list(one_provider.KINDS), "ip"), asked_text(request, "q")
    page = one_provider.provider_page(provider, kind=kind, now=timezone.now())
    if page is None:
        return not_found(request, f"No mail to a mailbox provider “{provider}” has been reported yet.")
    rows = one_provider.senders(kind, provider, text)
    if wants_csv(request):
        return csv_answer(f"provider-{kind}s", one_provider.CSV_HEADER, one_provider.csv_rows(rows.iterator()))
    table = table_page(request, rows)
    table = replace(table, rows=one_provider.score_lines(table.rows))
    context = {"page": page, "table": table, "text": text}
    return show_page(request, "dashboard/provider.html", page.title, context)


@staff_page
def breaker_list(request: HttpRequest) -> HttpResponseBase:
    """Every breaker, what holds mail back first."""
    if wants_csv(request):
        return csv_answer("breakers", breakers.CSV_HEADER, breakers.csv_rows(list(_breakers_asked(request)[0])))
    return show_breakers(request)


def show_breakers(request: HttpRequest, form: OpenBreakerForm | None = None, status: int = 200) -> HttpResponse:
    """The list, with the form to open any breaker, which may have been filled in."""
    rows, filters = _breakers_asked(request)
    table = table_page(request, rows, CARDS_SHOWN)
    entries = zip(breakers.entries(table.rows), map(breaker_acts, table.rows), strict=True)
    context = {
        **filters,
        "now": timezone.now(),
        "table": table,
        "entries": list(entries),
        "open_form": form or OpenBreakerForm(),
        "known_providers": sorted(directory().titles.items(), key=lambda item: item[1].lower()),
    }
    return show_page(request, "dashboard/breakers.html", "Circuit breakers", context, status)


def _breakers_asked(request: HttpRequest) -> tuple[Any, dict[str, Any]]:
    state, scope = asked(request, "state", list(breakers.STATES)), asked(request, "scope", list(breakers.SCOPES))
    provider, text = asked_text(request, "provider"), asked_text(request, "q")
    titles = directory().titles
    names = sorted({*Breaker.objects.exclude(provider="").values_list("provider", flat=True).order_by().distinct()})
    filters = {
        "states": choices([("", "every state"), *breakers.STATES.items()], state),
        "scopes": choices([("", "every scope"), *breakers.SCOPES.items()], scope),
        "providers": choices([("", "every provider"), *((name, titles.get(name, name)) for name in names)], provider),
        "text": text,
        "is_narrowed": bool(state or scope or provider or text),
    }
    return queries.breakers(state=state, scope=scope, provider=provider, text=text), filters


@staff_page
def breaker(request: HttpRequest, pk: int) -> HttpResponse:
    """One breaker and its transitions."""
    row = Breaker.objects.filter(pk=pk).first()
    return show_breaker(request, row) if row else not_found(request, "There is no such breaker.")


def show_breaker(request: HttpRequest, row: Breaker, given: dict[str, ReasonForm] | None = None) -> HttpResponse:
    """The page; `given` are forms that were filled in and could not be taken, by act."""
    table = table_page(request, row.events.order_by("-id"), EVENTS_SHOWN)
    context = {
        "now": timezone.now(),
        "entry": breakers.entries([row])[0],
        "acts": breaker_acts(row, given),
        "table": replace(table, rows=breakers.event_lines(table.rows)),
    }
    return show_page(request, "dashboard/breaker.html", f"Breaker of {row.scope}", context, 400 if given else 200)


@staff_page
def warmup_list(request: HttpRequest) -> HttpResponseBase:
    """Every warm-up, those that run first."""
    if wants_csv(request):
        rows = list(_warmups_asked(request)[0])
        return csv_answer("warm-ups", warmups.CSV_HEADER, warmups.csv_rows(rows, now=timezone.now()))
    return show_warmups(request)


def show_warmups(request: HttpRequest, form: StartWarmupForm | None = None, status: int = 200) -> HttpResponse:
    """The list, with the form to start one, which may have been filled in."""
    now = timezone.now()
    rows, filters = _warmups_asked(request)
    table = table_page(request, rows, CARDS_SHOWN)
    entries = zip(warmups.entries(table.rows, now=now), map(warmup_act_forms, table.rows), strict=True)
    context = {**filters, "now": now, "table": table, "entries": list(entries), "start_form": form or StartWarmupForm()}
    return show_page(request, "dashboard/warmups.html", "Warm-ups", context, status)


def _warmups_asked(request: HttpRequest) -> tuple[Any, dict[str, Any]]:
    state, kind = asked(request, "state", list(warmups.STATES)), asked(request, "kind", list(warmups.KINDS))
    text = asked_text(request, "q")
    filters = {
        "states": choices([("", "every state"), *warmups.STATES.items()], state),
        "kinds": choices([("", "IPs and domains"), *warmups.KINDS.items()], kind),
        "text": text,
        "is_narrowed": bool(state or kind or text),
    }
    return queries.warmups(state=state, kind=kind, text=text), filters


@staff_page
def warmup(request: HttpRequest, pk: int) -> HttpResponse:
    """One warm-up and its transitions."""
    row = Warmup.objects.filter(pk=pk).first()
    return show_warmup(request, row) if row else not_found(request, "There is no such warm-up.")


def show_warmup(request: HttpRequest, row: Warmup, given: dict[str, ReasonForm] | None = None) -> HttpResponse:
    """The page; `given` are forms that were filled in and could not be taken, by act."""
    now = timezone.now()
    table = table_page(request, row.events.order_by("-id"), EVENTS_SHOWN)
    context = {
        "now": now,
        "entry": warmups.entries([row], now=now)[0],
        "acts": warmup_act_forms(row, given),
        "table": replace(table, rows=warmups.step_lines(table.rows)),
    }
    return show_page(request, "dashboard/warmup.html", f"Warm-up of {row.sender}", context, 400 if given else 200)

"""The page of the scenarios: for superusers, because they burden the installation."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_POST

from dashboard.pages.scenarios import CSV_HEADER, ScenarioLine, csv_rows, scenarios_page
from dashboard.tables import csv_answer
from dashboard.views import not_found, show_page, show_part, staff_page
from reputation import scenarios


@staff_page
def scenario_list(request: HttpRequest) -> HttpResponse:
    """What they are."""
    _only_superusers(request)
    return _page(request)


@staff_page
@require_POST
def run_all(request: HttpRequest) -> HttpResponseBase:
    """Play all, one after the other, for the page or for a file.

    With scripts the page asks for each by itself instead and shows how far it is.
    """
    _only_where_switched_on(request)
    results = scenarios.run_all(now=timezone.now())
    if request.POST.get("format") == "csv":
        return csv_answer("scenarios", CSV_HEADER, csv_rows(results))
    return _page(request, results)


@staff_page
@require_POST
def run_one(request: HttpRequest, number: int) -> HttpResponse:
    """Play one: its line alone for a page that swaps it in, else the whole page."""
    _only_where_switched_on(request)
    scenario = scenarios.find(number)
    if scenario is None:
        return not_found(request, f"There is no scenario {number}.")
    result = scenarios.run(scenario, now=timezone.now())
    if "HX-Request" not in request.headers:
        return _page(request, [result])
    context = {"line": ScenarioLine.of(scenario, result), "may_run": True}
    return show_part(request, "dashboard/parts/scenario.html", context)


def _page(request: HttpRequest, results: Sequence[scenarios.Result] = ()) -> HttpResponse:
    context = {"page": scenarios_page(results, may_run=settings.SELF_TEST_API)}
    return show_page(request, "dashboard/scenarios.html", "Scenarios", context)


def _only_superusers(request: HttpRequest) -> None:
    if not getattr(request.user, "is_superuser", False):
        raise PermissionDenied


def _only_where_switched_on(request: HttpRequest) -> None:
    _only_superusers(request)
    if not settings.SELF_TEST_API:
        raise PermissionDenied

"""The pages of alerts: thin views over page contexts, and the two acts."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from dashboard.pages import alerts as pages
from dashboard.tables import csv_answer, table_page, wants_csv
from dashboard.views import not_found, show_page, staff_page
from reputation import alerts
from reputation.models import Alert
from telemetry.admin.parts import acting_user

ACTS = {"acknowledge": (alerts.acknowledge, "acknowledged"), "resolve": (alerts.resolve, "resolved")}


@staff_page
def alert_list(request: HttpRequest) -> HttpResponseBase:
    """What is wrong now, or what the filters ask for."""
    filters = pages.Filters.of(request.GET)
    rows = pages.rows_of(filters)
    if wants_csv(request):
        return csv_answer("alerts", pages.CSV_HEADER, pages.csv_rows(rows))
    page = pages.alert_list(filters, table_page(request, rows), now=timezone.now())
    return show_page(request, "dashboard/alerts/list.html", "Alerts", {"page": page})


@staff_page
def alert(request: HttpRequest, pk: int) -> HttpResponse:
    """One alert: the evidence, what became of it, whom it was told."""
    found = Alert.objects.filter(pk=pk).first()
    if found is None:
        return not_found(request, "There is no such alert.")
    page = pages.alert_page(found, now=timezone.now())
    return show_page(request, "dashboard/alerts/alert.html", f"Alert: {page.line.subject}", {"page": page})


@staff_page
@require_POST
def act(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """Acknowledge or resolve an alert, and go back to where one came from."""
    if not request.user.has_perm("reputation.change_alert"):
        raise PermissionDenied
    found = Alert.objects.filter(pk=pk).first()
    if found is None:
        return not_found(request, "There is no such alert.")
    do, done = ACTS[verb]
    try:
        do(found, user=acting_user(request), note=str(request.POST.get("note", "")), now=timezone.now())
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, f"{found.subject}: {done}.")
    back = _back(request)
    return redirect(back) if back else redirect("dashboard:alert", pk=pk)


def _back(request: HttpRequest) -> str:
    """The list that the form was on; never another site."""
    back = str(request.POST.get("back", ""))
    here = {request.get_host()}
    return back if back.startswith("/") and url_has_allowed_host_and_scheme(back, here, request.is_secure()) else ""

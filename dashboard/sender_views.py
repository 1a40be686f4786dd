"""The pages of a sending IP and of a sending domain: reading them, acting on them, their lists in full and as files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from dashboard.pages.domain import domain_page
from dashboard.pages.ip import ip_page
from dashboard.sender_acts import BY_NAME, ActForm, Sender, offers
from dashboard.sender_filters import SenderFilters
from dashboard.sender_tables import TABLES
from dashboard.views import not_found, show_page, staff_page
from reputation import judgements
from reputation.domain.breaker_policy import Kind
from reputation.models import AuditEntry
from telemetry.admin.parts import acting_user
from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import UNKNOWN_IP

_CLEAN: dict[str, Callable[[str, str], str]] = {"ip": clean.ip, "domain": clean.domain}
_NO_SENDER = {"ip": "“{}” is not an IP address.", "domain": "“{}” is not a domain name."}
_UNHEARD = {
    "ip": "No mail from {} has been reported yet.",
    "domain": "{} has no score yet. A domain gets one within five minutes of its first delivery or bounce.",
}


@staff_page
def sender(request: HttpRequest, kind: Kind, name: str) -> HttpResponse:
    """One sending IP or domain; another spelling leads to the canonical one."""
    found = _canonical(kind, name)
    if found is None:
        return not_found(request, _NO_SENDER[kind].format(name))
    return _show(request, found) if found.name == name else redirect(f"dashboard:{kind}", found.name)


@staff_page
@require_POST
def act(request: HttpRequest, kind: Kind, name: str, act: str) -> HttpResponse:
    """Do one thing, and go back to the page; what cannot be done comes back with what was typed."""
    found, chosen = _canonical(kind, name), BY_NAME.get(act)
    if found is None or chosen is None or kind not in chosen.kinds or found.name == UNKNOWN_IP:
        raise Http404
    user, now = acting_user(request), timezone.now()
    if not user.has_perm(chosen.permission):
        raise PermissionDenied
    form = ActForm(chosen, found, request.POST)
    if form.is_valid():
        given = {**form.cleaned_data, "expires_at": form.expires_at(now)}
        try:
            told = chosen.run(found, given, user, now)
        except ValidationError as error:
            form.add_error(None, error.messages)
        else:
            for level, text in told:
                messages.add_message(request, level, text)
            return redirect(f"dashboard:{kind}", found.name)
    return _show(request, found, returned=(act, form))


@staff_page
def table(request: HttpRequest, kind: Kind, name: str, table: str) -> HttpResponseBase:
    """One list of a sender in full, in pages or as a file."""
    found = _canonical(kind, name)
    if found is None or table not in TABLES:
        raise Http404
    return TABLES[table](request, found, SenderFilters.read(request.GET), timezone.now())


@staff_page
@require_POST
def judge(request: HttpRequest, pk: int) -> HttpResponse:
    """Mark an automatic change right or a false alarm, or take the mark back."""
    user = acting_user(request)
    if not user.has_perm(judgements.PERMISSION):
        raise PermissionDenied
    entry = get_object_or_404(AuditEntry, pk=pk)
    verdict, note = request.POST.get("verdict") or None, request.POST.get("note", "")
    try:
        judgements.judge(entry, verdict, note=note, user=user, now=timezone.now())
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    back = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure())
    return redirect(back if is_ours else reverse("dashboard:overview"))


def _canonical(kind: Kind, name: str) -> Sender | None:
    try:
        return Sender(kind, _CLEAN[kind](name, kind))
    except ParseError:
        return None


def _show(request: HttpRequest, found: Sender, returned: tuple[str, ActForm] | None = None) -> HttpResponse:
    now, filters = timezone.now(), SenderFilters.read(request.GET)
    page = _page(found, filters, now)
    if page is None:
        return not_found(request, _UNHEARD[found.kind].format(found.name))
    context = {
        "page": page,
        "sender": found,
        "filters": filters,
        "offers": offers(found, request.user, now=now, returned=returned),
        "here": reverse(f"dashboard:{found.kind}", args=[found.name]) + filters.address(),
    }
    title = f"{'IP' if found.kind == 'ip' else 'Domain'} {found.name}"
    return show_page(request, f"dashboard/{found.kind}.html", title, context, status=400 if returned else 200)


def _page(found: Sender, filters: SenderFilters, now: datetime) -> Any:
    if found.kind == "ip":
        return ip_page(found.name, filters, now=now)
    return domain_page(found.name, filters, now=now)

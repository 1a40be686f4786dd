"""What people do on the pages of the fleet: plain POST forms that lead back to the page of what they changed."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from dashboard.fleet_forms import WARMUP_ACTS, OpenBreakerForm, StartWarmupForm, breaker_form, say
from dashboard.fleet_views import show_breaker, show_breakers, show_warmup, show_warmups
from dashboard.views import not_found, staff_page
from reputation import warmup_acts
from reputation.breaker_acts import close_by_hand, open_by_hand
from reputation.domain.breaker_policy import Kind, Scope
from reputation.models import Breaker, Warmup
from telemetry.admin.parts import acting_user, is_address


@staff_page
@require_POST
def open_any_breaker(request: HttpRequest) -> HttpResponseBase:
    """Pause a sender, be it one that has no breaker yet."""
    _needs(request, "reputation.change_breaker")
    form = OpenBreakerForm(request.POST)
    if form.is_valid():
        sender, given = form.cleaned_data["sender"].strip(), form.cleaned_data
        scope = Scope(_kind(sender), sender, given["provider"])
        until = given["expires_at"]
        try:
            row = open_by_hand(
                scope, reason=given["reason"], user=acting_user(request), now=timezone.now(), expires_at=until
            )
        except ValidationError as error:
            say(form, error)
        else:
            messages.success(request, f"Opened: {row.scope}.")
            return redirect("dashboard:breaker", pk=row.pk)
    return show_breakers(request, form, 400)


@staff_page
@require_POST
def act_on_breaker(request: HttpRequest, pk: int, act: str) -> HttpResponseBase:
    """Open or close a breaker."""
    _needs(request, "reputation.change_breaker")
    row = Breaker.objects.filter(pk=pk).first()
    if row is None or act not in ("open", "close"):
        return not_found(request, "There is no such breaker.")
    form = breaker_form(act, row, request.POST)
    if form.is_valid():
        given: dict[str, Any] = {**form.cleaned_data, "user": acting_user(request), "now": timezone.now()}
        try:
            moved = open_by_hand(row.scope, **given) if act == "open" else close_by_hand(row, **given)
        except ValidationError as error:
            say(form, error)
        else:
            messages.success(request, f"{'Opened' if act == 'open' else 'Closed'}: {moved.scope}.")
            return redirect("dashboard:breaker", pk=pk)
    return show_breaker(request, row, {act: form})


@staff_page
@require_POST
def start_warmup(request: HttpRequest) -> HttpResponseBase:
    """Warm a sender up, be it one that never sent."""
    _needs(request, "reputation.change_warmup")
    form = StartWarmupForm(request.POST)
    if form.is_valid():
        given = dict(form.cleaned_data)
        sender = given.pop("sender").strip()
        numbers = given.pop("template")
        try:
            row = warmup_acts.start(
                _kind(sender), sender, numbers, user=acting_user(request), now=timezone.now(), **given
            )
        except ValidationError as error:
            say(form, error)
        else:
            messages.success(request, f"Started: {row}.")
            return redirect("dashboard:warmup", pk=row.pk)
    return show_warmups(request, form, 400)


@staff_page
@require_POST
def act_on_warmup(request: HttpRequest, pk: int, act: str) -> HttpResponseBase:
    """Confirm, skip, complete or cancel a warm-up."""
    _needs(request, "reputation.change_warmup")
    row = Warmup.objects.filter(pk=pk).first()
    if row is None or act not in WARMUP_ACTS:
        return not_found(request, "There is no such warm-up.")
    wanted = WARMUP_ACTS[act]
    form = wanted.form(request.POST, key=f"{act}-{pk}")
    if form.is_valid():
        try:
            moved = wanted.act.run(row, user=acting_user(request), now=timezone.now(), **form.cleaned_data)
        except ValidationError as error:
            say(form, error)
        else:
            messages.success(request, f"{wanted.act.done}: {moved}.")
            return redirect("dashboard:warmup", pk=pk)
    return show_warmup(request, row, {act: form})


def _needs(request: HttpRequest, permission: str) -> None:
    if not acting_user(request).has_perm(permission):
        raise PermissionDenied


def _kind(sender: str) -> Kind:
    return "ip" if is_address(sender) else "domain"

"""Who guesses passwords is kept out for a while: by name and address together, counted by django-axes in the database.

Name and address together, because by the name alone a stranger could keep a colleague out from anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from math import ceil
from typing import Any

from axes.backends import AxesStandaloneBackend
from axes.models import AccessAttempt
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from telemetry.access import known_user
from telemetry.client_address import address_of
from telemetry.secrets import digest

PURPOSE = "unknown-login-name"


class LockoutBackend(AxesStandaloneBackend):  # type: ignore[misc]  # it has no types
    """Refuses passwords for a locked name and address. What comes without a name (single sign-on) is no guess."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **given: Any
    ) -> None:
        """Raise where the door is locked; never says who somebody is."""
        if request is not None and username is not None:
            super().authenticate(request, username=username, password=password, **given)


def name_tried(request: HttpRequest, credentials: Mapping[str, Any] | None) -> str | None:
    """The name that failures are counted by. What is nobody's name may be a password, so its digest is kept instead."""
    typed = (credentials or {}).get("username") or request.POST.get("username")
    if not typed:
        return None
    return known_user(str(typed)) or f"unknown {digest(PURPOSE, str(typed))[:16]}"


def is_no_guess(request: HttpRequest, credentials: Mapping[str, Any] | None) -> bool:
    """Whether a failure is not counted: no name was typed."""
    return not (credentials or {}).get("username")


def address_tried(request: HttpRequest) -> str | None:
    """The address that failures are counted by."""
    return address_of(request) or None


def minutes_left(name: str | None, address: str | None, *, now: datetime) -> int:
    """How long the name stays locked from this address, in whole minutes, at least 1."""
    last = (
        AccessAttempt.objects.filter(username=name, ip_address=address)
        .order_by("-attempt_time")
        .values_list("attempt_time", flat=True)
        .first()
    )
    until = (last or now) + settings.AXES_COOLOFF_TIME
    return max(1, ceil((until - now).total_seconds() / 60))


def locked_out(request: HttpRequest, original: HttpResponse, credentials: Mapping[str, Any] | None) -> HttpResponse:
    """The page that a locked-out person sees instead of the login: 429, and for how long."""
    name, address = name_tried(request, credentials), address_tried(request)
    minutes = minutes_left(name, address, now=timezone.now())
    context = {"minutes": minutes, "address": address, "failures": settings.AXES_FAILURE_LIMIT}
    response = render(request, "doors/locked_out.html", _frame(request, context), status=429)
    response["Retry-After"] = str(minutes * 60)
    return response


def _frame(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    from django.contrib import admin

    return {**admin.site.each_context(request), "title": "Login locked", **context}

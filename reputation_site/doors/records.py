"""Logins in the access log, and what else happens at the doors for people."""

from __future__ import annotations

import logging
from typing import Any

from axes.signals import user_locked_out
from django.contrib.auth import signals
from django.contrib.auth.models import User
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from reputation_site.doors.gate import SINGLE_SIGN_ON, under_way
from telemetry.access import known_user, record
from telemetry.client_address import address_of
from telemetry.domain.access import AccessKind

log = logging.getLogger(__name__)


def note(kind: AccessKind, user: User | str, request: HttpRequest | None, detail: str = "") -> None:
    """One row of the access log. Without a request it was a command on the machine."""
    who = user if isinstance(user, str) else user.get_username()
    record(kind, who=who, address=address_of(request) if request else "", now=timezone.now(), detail=detail)


@receiver(signals.user_logged_in, dispatch_uid="doors: in")
def _logged_in(request: HttpRequest | None, user: User, **_: Any) -> None:
    if request is None or request.method is None:
        return  # a script opened a session; nobody came through a door
    by = "single sign-on" if getattr(user, "backend", "") in SINGLE_SIGN_ON else "password"
    note(AccessKind.LOGIN, user, request, by)


@receiver(post_save, sender=User, dispatch_uid="doors: password")
def _saved(instance: User, created: bool, **_: Any) -> None:
    # Set by `set_password` until the row is saved; a hash that is only renewed at a login leaves it empty.
    if created or getattr(instance, "_password", None) is None:
        return
    request = under_way.get()
    by = request.user.get_username() if request and request.user.is_authenticated else ""
    note(AccessKind.PASSWORD_CHANGED, instance, request, f"by {by}" if by != instance.get_username() and by else "")


@receiver(signals.user_logged_out, dispatch_uid="doors: out")
def _logged_out(request: HttpRequest | None, user: User | None, **_: Any) -> None:
    if user is not None:
        note(AccessKind.LOGOUT, user, request)


@receiver(signals.user_login_failed, dispatch_uid="doors: failed")
def _failed(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    typed = credentials.get("username")
    # While the door is locked nothing is read and nothing written: a guesser cannot fill the log.
    if not typed or request is None or getattr(request, "axes_locked_out", False):
        return
    note(AccessKind.LOGIN_FAILED, known_user(str(typed)), request)


@receiver(user_locked_out, dispatch_uid="doors: locked")
def _locked(request: HttpRequest, username: str | None, **_: Any) -> None:
    # The counter is there only when this failure locked the door; later ones are refused unread.
    if getattr(request, "axes_failures_since_start", None) is not None:
        name = known_user(username or "")
        log.warning("login locked", extra={"user": name or "unknown", "address": address_of(request)})
        note(AccessKind.LOGIN_FAILED, name, request)
        note(AccessKind.LOCKED_OUT, name, request)

"""Between the password and the pages: who has yet to show the second factor is nobody until it is shown.

Views, the admin and the API's session login all look at `request.user`, so this is the one place that decides.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from enum import Enum
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponseBase
from django.utils.functional import SimpleLazyObject

from reputation_site.doors.second_factor import device_of

# Their provider asks for what it wants, a second factor too; ours is for passwords.
SINGLE_SIGN_ON = ("reputation_site.doors.remote_user.Backend", "reputation_site.doors.oidc.Backend")

# The request that this thread answers, for what is told by signals that know of none.
under_way: ContextVar[HttpRequest | None] = ContextVar("under_way", default=None)


class Missing(Enum):
    """What somebody with the right password has yet to do."""

    CODE = "code"
    SET_UP = "set up"


class Gate:
    """Middleware after django-otp's: makes `request.user` anonymous while something is missing."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Decide when somebody asks for the user, and not before: many requests never do."""
        request.user = SimpleLazyObject(partial(_let_in, request, request.user))  # type: ignore[assignment]
        token = under_way.set(request)
        try:
            return self.get_response(request)
        finally:
            under_way.reset(token)


def waiting(request: HttpRequest) -> tuple[User, Missing] | None:
    """Who stands before the gate, and what is missing; None when nobody does."""
    bool(request.user.is_authenticated)  # the decision is made when somebody asks
    found: tuple[User, Missing] | None = getattr(request, "_gs_waiting", None)
    return found


def _let_in(request: HttpRequest, user: Any) -> Any:
    if not user.is_authenticated or user.is_verified():
        return user
    if request.session.get(BACKEND_SESSION_KEY) in SINGLE_SIGN_ON:
        return user
    if device_of(user):
        missing = Missing.CODE
    elif settings.REQUIRE_SECOND_FACTOR and user.is_staff:
        missing = Missing.SET_UP
    else:
        return user
    request._gs_waiting = (user, missing)  # type: ignore[attr-defined]
    return AnonymousUser()

"""Sessions end some hours after the last request, not after the login."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

# Pages ask every few seconds; the session's row is written this rarely.
_RENEW_AFTER = 600
_RENEWED = "renewed_at"


@receiver(user_logged_in, dispatch_uid="doors: session begins")
def _begins(request: HttpRequest | None, **_: Any) -> None:
    if request is not None:
        request.session[_RENEWED] = int(timezone.now().timestamp())


class Sliding:
    """Middleware: an answered request puts the end of its session off."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Mark the session as changed when its end was last put off long ago; then it is written anew."""
        response = self.get_response(request)
        session = request.session
        if session.accessed and SESSION_KEY in session:
            now = int(timezone.now().timestamp())
            if now - session.get(_RENEWED, 0) >= _RENEW_AFTER:
                session[_RENEWED] = now
        return response

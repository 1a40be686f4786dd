"""From where a request came, for Django's views and for the fast way in: one rule, told by GS_TRUSTED_PROXIES."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest

from telemetry.domain.addresses import Address, client_of


def client_address(peer: str, forwarded_for: str) -> Address | None:
    """The client's address by its connection's peer and its X-Forwarded-For; None where the server does not know.

    The header is believed only when the peer is one of the trusted proxies.
    """
    return client_of(peer, forwarded_for, settings.TRUSTED_PROXIES)


def address_of(request: HttpRequest) -> str:
    """The client's address of one of Django's requests; empty where the server does not know."""
    found = client_address(request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR", ""))
    return str(found) if found is not None else ""

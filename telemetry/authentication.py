"""Who is asking: a person's token, or a source's."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from telemetry import access
from telemetry.client_address import address_of
from telemetry.domain.access import AccessKind
from telemetry.domain.addresses import Address, is_within
from telemetry.domain.addresses import address as parsed
from telemetry.domain.scopes import Scope
from telemetry.metrics import SOURCE_REFUSED
from telemetry.models import Source
from telemetry.scopes import scope_needed
from telemetry.tokens import find_api_token, find_source_token


class ApiTokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer gs_…`` with an API token: acts as the token's user."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """The user and the token, None when there is no bearer token; raises 401 for one that is not usable."""
        clear = _bearer(request)
        if clear is None:
            return None
        now = timezone.now()
        token = find_api_token(clear, now=now)
        if token is None or not token.user.is_active:
            raise exceptions.AuthenticationFailed("This API token is unknown, expired or revoked.")
        who, address = token.user.get_username(), address_of(request._request)
        # Here and not with the permissions: a view may bring its own of those, but nobody gets in by a token past this.
        needed, scope = scope_needed(request.method or "", request.parser_context["view"]), Scope(token.scope)
        if not scope.covers(needed):
            access.record_once_a_day(
                AccessKind.REFUSED_BY_SCOPE,
                who=who,
                address=address,
                now=now,
                token=token.prefix,
                detail=f"{request.method} {request.path} needs {needed}.",
            )
            raise exceptions.PermissionDenied(f"This needs an API token of the scope {needed}; this one's is {scope}.")
        access.record_once_a_day(AccessKind.TOKEN_USED, who=who, address=address, now=now, token=token.prefix)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return 'Bearer realm="Good Standing API"'


class SourceAuthentication(BaseAuthentication):
    """``Authorization: Bearer gs_…`` with a source's token, or Basic with the token as password.

    Where the source has a signature key, ``X-Signature`` must be the base64 HMAC-SHA256 of the raw body too.
    """

    def authenticate(self, request: Request) -> tuple[Any, Any]:
        """Nobody in particular and the source; raises 401 without a usable token, 403 for an inactive source."""
        clear = _bearer(request) or _basic_password(request)
        if clear is None:
            raise exceptions.NotAuthenticated("Send the source's token as Authorization: Bearer gs_….")
        now = timezone.now()
        token = find_source_token(clear, now=now)
        if token is None:
            raise exceptions.AuthenticationFailed("This source token is unknown, expired or revoked.")
        if not token.source.is_active:
            raise exceptions.PermissionDenied(f"The source {token.source.name} is not active.")
        refuse_strangers(token.source, request._request, token=token.prefix)
        address = address_of(request._request)
        access.record_once_a_day(
            AccessKind.TOKEN_USED, who=token.source.name, address=address, now=now, token=token.prefix
        )
        return AnonymousUser(), token.source

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return 'Bearer realm="Good Standing source"'


def may_report_from(source: Source, place: Address | None) -> bool:
    """Whether the source may report from there; where it has allowed networks, an unknown address is not in them."""
    return not source.allowed_networks or (place is not None and is_within(place, source.networks))


def refuse_strangers(source: Source, request: HttpRequest, *, token: str = "") -> None:
    """Raise 403 for a request from outside the source's allowed networks, and note it in the access log."""
    address = address_of(request)
    if may_report_from(source, parsed(address)):
        return
    SOURCE_REFUSED.labels(why="address").inc()
    access.record_once_a_day(
        AccessKind.REFUSED_BY_ADDRESS, who=source.name, address=address, now=timezone.now(), token=token
    )
    raise exceptions.PermissionDenied(
        f"This came from {address or 'an unknown address'}, which is not in the allowed networks of the source "
        f"{source.name}."
    )


def signature_is_right(source: Source, signature: str, body: bytes) -> bool:
    """Whether the signature is the base64 HMAC-SHA256 of the body under the source's key; constant time."""
    expected = base64.b64encode(hmac.new(source.hmac_key.encode(), body, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(expected, signature.strip())


def bearer_of(authorization: str) -> str | None:
    """The token of an Authorization header, None when it is of another scheme."""
    scheme, _, value = authorization.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def _bearer(request: Request) -> str | None:
    return bearer_of(request.headers.get("Authorization", ""))


def _basic_password(request: Request) -> str | None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


class ApiTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document describes the API token."""

    target_class = ApiTokenAuthentication
    name = "apiToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """A bearer token."""
        description = (
            "An API token of a user (manage.py api_token). Its scope, read, operate or admin, says how far it goes; "
            "never further than its user."
        )
        return {"type": "http", "scheme": "bearer", "description": description}


class SourceScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document describes the source's token."""

    target_class = SourceAuthentication
    name = "sourceToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """A bearer token."""
        return {"type": "http", "scheme": "bearer", "description": "The token of a source (admin, or API)."}

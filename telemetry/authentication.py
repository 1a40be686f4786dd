"""Who is asking: a person's token, or a source's."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from telemetry.models import Source
from telemetry.tokens import find_api_token, find_source_token


class ApiTokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer gs_…`` with an API token: acts as the token's user."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """The user and the token, None when there is no bearer token; raises 401 for one that is not usable."""
        clear = _bearer(request)
        if clear is None:
            return None
        token = find_api_token(clear, now=timezone.now())
        if token is None or not token.user.is_active:
            raise exceptions.AuthenticationFailed("This API token is unknown, expired or revoked.")
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
        token = find_source_token(clear, now=timezone.now())
        if token is None:
            raise exceptions.AuthenticationFailed("This source token is unknown, expired or revoked.")
        if not token.source.is_active:
            raise exceptions.PermissionDenied(f"The source {token.source.name} is not active.")
        return AnonymousUser(), token.source

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return 'Bearer realm="Good Standing source"'


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
        return {"type": "http", "scheme": "bearer", "description": "An API token of a user (manage.py api_token)."}


class SourceScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document describes the source's token."""

    target_class = SourceAuthentication
    name = "sourceToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """A bearer token."""
        return {"type": "http", "scheme": "bearer", "description": "The token of a source (admin, or API)."}

"""Login by an OpenID Connect provider: authorization code with PKCE, state and nonce; endpoints by discovery.

mozilla-django-oidc walks the flow. What it leaves open is closed here: issuer, audience and subject are checked, and a
person who was deactivated is let in by no old session.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import monotonic
from typing import Any

import jwt
import requests
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Group, User
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from mozilla_django_oidc.auth import OIDCAuthenticationBackend
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from reputation_site.doors.records import note
from reputation_site.doors.remote_user import make_viewer
from reputation_site.groups import ROLES
from telemetry.domain.access import AccessKind

log = logging.getLogger(__name__)

_TIMEOUT = 10  # seconds for each question to the provider
_KEEP_DISCOVERY = 600  # seconds
_TROUBLES = (requests.RequestException, jwt.PyJWTError, SuspiciousOperation, KeyError, ValueError, TypeError)
_kept: dict[str, tuple[float, dict[str, Any]]] = {}


def discovered() -> dict[str, Any]:
    """What the provider says of itself. Raises requests' errors, ValueError when it speaks of another issuer."""
    issuer = settings.OIDC_ISSUER
    at, known = _kept.get(issuer, (0.0, {}))
    if known and monotonic() - at < _KEEP_DISCOVERY:
        return known
    answer = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=_TIMEOUT)
    answer.raise_for_status()
    told: dict[str, Any] = answer.json()
    if str(told["issuer"]).rstrip("/") != issuer:
        raise ValueError(f"GS_OIDC_ISSUER is {issuer}, but the provider calls itself {told['issuer']!r}")
    _kept[issuer] = (monotonic(), told)
    return told


def _setting(name: str, *default: Any) -> Any:
    """The library's settings, in its words."""
    endpoints = {
        "OIDC_OP_AUTHORIZATION_ENDPOINT": "authorization_endpoint",
        "OIDC_OP_TOKEN_ENDPOINT": "token_endpoint",
        "OIDC_OP_USER_ENDPOINT": "userinfo_endpoint",
        "OIDC_OP_JWKS_ENDPOINT": "jwks_uri",
    }
    if name in endpoints:
        return discovered()[endpoints[name]]
    ours = {
        "OIDC_RP_CLIENT_ID": settings.OIDC_CLIENT_ID,
        "OIDC_RP_CLIENT_SECRET": settings.OIDC_CLIENT_SECRET,
        "OIDC_RP_SIGN_ALGO": settings.OIDC_ALGORITHM,
        "OIDC_RP_SCOPES": settings.OIDC_SCOPES,
        "OIDC_USE_PKCE": True,
        "OIDC_TIMEOUT": _TIMEOUT,
        "OIDC_AUTHENTICATION_CALLBACK_URL": "doors:oidc-callback",
        "LOGIN_REDIRECT_URL": settings.LOGIN_REDIRECT_URL,
        "LOGIN_REDIRECT_URL_FAILURE": "admin:login",
    }
    return ours[name] if name in ours else default[0] if default else None


class RefusedError(Exception):
    """The provider knows the person, but this installation does not let them in; the message says why."""


class Backend(OIDCAuthenticationBackend):  # type: ignore[misc]  # it has no types
    """Knows people by the name in the configured claim."""

    get_settings = staticmethod(_setting)

    def __init__(self) -> None:
        """Ask the provider nothing yet: Django makes a backend for every question about a right."""
        self.UserModel = get_user_model()

    def authenticate(self, request: HttpRequest | None, **given: Any) -> User | None:
        """The person, None when this is another kind of login or the provider's answer is not to be believed."""
        if request is None or "nonce" not in given:
            return None
        try:
            super().__init__()
            user: User | None = super().authenticate(request, **given)
        except RefusedError as error:
            _say(request, str(error))
            return None
        except _TROUBLES as error:
            log.warning("single sign-on failed", extra={"why": str(error)[:300]})
            _say(request, "The provider's answer could not be believed.")
            return None
        return user

    def get_user(self, user_id: int) -> User | None:
        """The person of a session; nobody once the account is not active."""
        return ModelBackend.get_user(self, user_id)

    def verify_token(self, token: str, **given: Any) -> dict[str, Any]:
        """The claims of the ID token: signed by the provider, made by it, for us, now, for this login."""
        claims: dict[str, Any] = super().verify_token(token, **given)
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if str(claims.get("iss", "")).rstrip("/") != settings.OIDC_ISSUER:
            raise SuspiciousOperation("the token is of another issuer")
        if settings.OIDC_CLIENT_ID not in audiences or claims.get("azp", settings.OIDC_CLIENT_ID) != (
            settings.OIDC_CLIENT_ID
        ):
            raise SuspiciousOperation("the token is for somebody else")
        if "exp" not in claims or not claims.get("sub"):
            raise SuspiciousOperation("the token has no end or no subject")
        return claims

    def get_userinfo(self, access_token: str, id_token: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The claims of the ID token and, where there is one, of the user info endpoint, about the same person."""
        if "userinfo_endpoint" not in discovered():
            return dict(payload)
        told = super().get_userinfo(access_token, id_token, payload)
        if told.get("sub") != payload["sub"]:
            raise SuspiciousOperation("the user info is about somebody else")
        return {**payload, **told}

    def verify_claims(self, claims: Mapping[str, Any]) -> bool:
        """Whether there is a name to know the person by."""
        if not isinstance(claims.get(settings.OIDC_USERNAME_CLAIM), str):
            raise RefusedError(f"The provider sent no {settings.OIDC_USERNAME_CLAIM}, by which people are known here.")
        return True

    def filter_users_by_claims(self, claims: Mapping[str, Any]) -> Any:
        """The user of exactly this name."""
        return self.UserModel.objects.filter(username=claims[settings.OIDC_USERNAME_CLAIM])

    def create_user(self, claims: Mapping[str, Any]) -> User:
        """A new person, where that is allowed: a viewer, or what the provider's groups say."""
        name = claims[settings.OIDC_USERNAME_CLAIM]
        role = _role(claims)
        if not settings.SSO_CREATE_USERS:
            raise RefusedError(f"There is no account {name[:150]} here. Somebody who runs this installation makes one.")
        user = User(username=name, email=str(claims.get("email") or "")[:254])
        user.set_unusable_password()
        try:
            user.full_clean(exclude=["password"])
        except ValidationError as error:
            raise RefusedError(f"The name cannot be used here: {' '.join(error.messages)}") from None
        make_viewer(user)
        _give(user, role)
        return user

    def update_user(self, user: User, claims: Mapping[str, Any]) -> User:
        """The person's group follows the provider's, where that is set."""
        if not user.is_active:
            raise RefusedError("This account is not active.")
        _give(user, _role(claims))
        return user


def _role(claims: Mapping[str, Any]) -> str | None:
    """The highest role that the provider's groups give, None where only we give roles. Raises RefusedError."""
    if not settings.OIDC_ROLES:
        return None
    told = claims.get(settings.OIDC_GROUPS_CLAIM) or []
    groups = {told} if isinstance(told, str) else set(map(str, told))
    found = [role for role in ROLES if any(settings.OIDC_ROLES.get(group) == role for group in groups)]
    if not found:
        raise RefusedError("None of your groups may come in here.")
    return found[-1]


def _give(user: User, role: str | None) -> None:
    if role is None:
        return
    user.groups.remove(*Group.objects.filter(name__in=ROLES).exclude(name=role))
    user.groups.add(Group.objects.get(name=role))
    if not user.is_staff:
        user.is_staff = True
        user.save(update_fields=["is_staff"])


def _say(request: HttpRequest, why: str) -> None:
    note(AccessKind.LOGIN_FAILED, "", request, f"single sign-on: {why}")
    messages.error(request, f"Single sign-on did not let you in. {why}")


class _Begin(OIDCAuthenticationRequestView):  # type: ignore[misc]  # it has no types
    get_settings = staticmethod(_setting)


class _Callback(OIDCAuthenticationCallbackView):  # type: ignore[misc]  # it has no types
    get_settings = staticmethod(_setting)

    def login_failure(self) -> HttpResponse:
        """Back to the login, which says why."""
        return redirect("admin:login")


@never_cache
@require_GET
def begin(request: HttpRequest) -> HttpResponseBase:
    """Send the person to the provider."""
    if not settings.OIDC_ISSUER:
        raise Http404
    try:
        response: HttpResponseBase = _Begin.as_view()(request)
    except _TROUBLES as error:
        log.warning("the provider of single sign-on cannot be reached", extra={"why": str(error)[:300]})
        messages.error(request, "The provider of single sign-on does not answer. Try again, or use your password.")
        return redirect("admin:login")
    return response


@never_cache
@require_GET
def callback(request: HttpRequest) -> HttpResponseBase:
    """The person comes back with a code."""
    if not settings.OIDC_ISSUER:
        raise Http404
    if request.GET.get("error"):
        messages.error(request, "The provider of single sign-on did not let you in.")
    response: HttpResponseBase = _Callback.as_view()(request)
    return response

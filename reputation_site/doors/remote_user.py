"""Login by a proxy that has asked who somebody is and says so in a header (GS_REMOTE_USER_HEADER).

The header is believed from the peers in GS_TRUSTED_PROXIES alone; from anybody else it is taken off the request.
"""

from __future__ import annotations

from ipaddress import ip_address

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.backends import RemoteUserBackend
from django.contrib.auth.middleware import RemoteUserMiddleware
from django.contrib.auth.models import Group, User
from django.http import HttpRequest

from reputation_site.groups import VIEWER


class Backend(RemoteUserBackend):
    """Knows people by the name that the proxy says."""

    @property
    def create_unknown_user(self) -> bool:  # type: ignore[override]
        """Whether a name that nobody has yet becomes a viewer."""
        return bool(settings.SSO_CREATE_USERS)

    def configure_user(self, request: HttpRequest, user: User, created: bool = True) -> User:  # type: ignore[override]
        """A new person may look and no more."""
        if created:
            make_viewer(user)
        return user


class Middleware(RemoteUserMiddleware):
    """Logs in whom a trusted proxy names, and out who is no longer named."""

    @property
    def header(self) -> str:  # type: ignore[override]
        """The header's name in META."""
        return str(settings.REMOTE_USER_META)

    def process_request(self, request: HttpRequest) -> None:
        """Look at the header of a trusted peer only."""
        if not _is_trusted(request.META.get("REMOTE_ADDR", "")):
            request.META.pop(self.header, None)
        named = request.META.get(self.header, "")
        # A person who logged in by password stays who they are, unless the proxy names another.
        if not named and request.session.get(auth.BACKEND_SESSION_KEY) != _PATH:
            return
        super().process_request(request)


_PATH = f"{Backend.__module__}.{Backend.__qualname__}"


def make_viewer(user: User) -> None:
    """Let a new person in and look."""
    user.is_staff = True
    user.set_unusable_password()
    user.save()
    group = Group.objects.filter(name=VIEWER).first()
    if group is not None:
        user.groups.add(group)


def _is_trusted(peer: str) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    return any(address in network for network in settings.TRUSTED_PROXIES)

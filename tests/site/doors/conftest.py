"""Who comes to the doors: Olga, a superuser, and Vera, a viewer; each with a password."""

from __future__ import annotations

import time
from binascii import unhexlify
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from telemetry.models import AccessRecord

PASSWORD = "correct horse battery"
LOGIN = "/admin/login/"


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Any) -> None:
    """A slow hash is for production; here many passwords are tried."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def olga(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_superuser("olga", "olga@example.com", PASSWORD)


@pytest.fixture
def vera(django_user_model: type[User]) -> User:
    user = django_user_model.objects.create_user("vera", "vera@example.com", PASSWORD, is_staff=True)
    user.groups.add(Group.objects.get(name="viewer"))
    return user


@pytest.fixture
def try_login() -> Callable[..., Any]:
    """Type a name and a password into the login, from an address; the answer."""

    def attempt(
        name: str, password: str, *, client: Client | None = None, address: str = "203.0.113.5", **more: Any
    ) -> Any:
        return (client or Client()).post(
            LOGIN, {"username": name, "password": password, "next": "/"}, REMOTE_ADDR=address, **more
        )

    return attempt


def logged() -> list[tuple[str, str, str | None]]:
    """The access log: kind, name and address, oldest first."""
    return list(AccessRecord.objects.order_by("id").values_list("kind", "who", "address"))


def code_of(device: TOTPDevice, *, steps: int = 0) -> str:
    """What the app shows now, or some steps from now."""
    totp = TOTP(unhexlify(device.key))
    totp.time = time.time() + 30 * steps
    return f"{totp.token():06d}"

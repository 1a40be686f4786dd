"""The second factor: codes of an authenticator app (TOTP, RFC 6238) and recovery codes for when it is lost.

Devices are django-otp's. Recovery codes are stored as digests and work once.
"""

from __future__ import annotations

import secrets
from base64 import b32encode
from binascii import unhexlify
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlencode

import segno
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import transaction
from django_otp.models import Device
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice, default_key

from telemetry.secrets import digest, matches

ISSUER = "Good Standing"
PURPOSE = "recovery-code"
STEP = 30  # seconds a code is valid; one step of drift to either side is allowed
RECOVERY_CODES = 10
# What a stored recovery code holds of its digest: the column is that long.
_KEPT = 16
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that is easily mistaken for another


@dataclass(frozen=True)
class Checked:
    """What became of a typed code."""

    device: Device | None
    """The device that took the code; None: it was wrong, or too early."""
    wait_seconds: int = 0
    """More than 0: too many wrong codes, and this one was not looked at."""


def device_of(user: User) -> TOTPDevice | None:
    """The person's authenticator app, None without one."""
    found: TOTPDevice | None = TOTPDevice.objects.filter(user=user, confirmed=True).order_by("pk").first()
    return found


def new_key() -> str:
    """A new secret of 160 bits, in hex."""
    return str(default_key())


def key_in_words(key: str) -> str:
    """The secret as an app takes it by hand: base32 in groups of four."""
    text = b32encode(unhexlify(key)).decode()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def qr_code(user: User, key: str) -> str:
    """A QR code of the secret for the app to scan, as a data: image."""
    label = quote(f"{ISSUER}:{user.get_username()}")
    values = {"secret": b32encode(unhexlify(key)).decode(), "issuer": ISSUER, "digits": 6, "period": STEP}
    url = f"otpauth://totp/{label}?{urlencode(values, quote_via=quote)}"
    image: str = segno.make(url, error="m", micro=False).svg_data_uri(scale=5, border=4, dark="#000", light="#fff")
    return image


def set_up(user: User, key: str, typed: str, *, now: datetime) -> tuple[TOTPDevice, list[str]] | None:
    """Keep the secret if the code shows that the app has it; the device and the recovery codes, in clear this once.

    None when the code is wrong, or when the person has a second factor already.
    """
    totp = TOTP(unhexlify(key), STEP)
    totp.time = now.timestamp()
    code = _digits(typed)
    if code is None or not totp.verify(code, tolerance=1):
        return None
    with transaction.atomic():
        get_user_model()._default_manager.select_for_update().get(pk=user.pk)
        if device_of(user):
            return None
        # The code that was typed here is used up.
        device = TOTPDevice.objects.create(
            user=user, name="Authenticator app", key=key, drift=totp.drift, last_t=totp.t(), last_used_at=now
        )
        return device, renew_recovery_codes(user)


def renew_recovery_codes(user: User) -> list[str]:
    """Replace the person's recovery codes; the new ones in clear, which nobody can read again."""
    codes = ["-".join(_word() for _ in range(3)) for _ in range(RECOVERY_CODES)]
    with transaction.atomic():
        device, _ = StaticDevice.objects.get_or_create(user=user, name="Recovery codes")
        device.token_set.all().delete()
        kept = [StaticToken(device=device, token=digest(PURPOSE, _plain(code))[:_KEPT]) for code in codes]
        StaticToken.objects.bulk_create(kept)
    return codes


def recovery_codes_left(user: User) -> int:
    """How many recovery codes were not used yet."""
    return int(StaticToken.objects.filter(device__user=user, device__confirmed=True).count())


def check(user: User, typed: str, *, now: datetime) -> Checked:
    """Whether the typed code opens: six digits of the app, or a recovery code, which is then used up.

    After each wrong code the next is looked at only after 1, 2, 4, 8 … seconds, whatever came from whom.
    """
    with transaction.atomic():
        app = TOTPDevice.objects.select_for_update().filter(user=user, confirmed=True).order_by("pk").first()
        if app is None:
            return Checked(None)
        allowed, why = app.verify_is_allowed()
        if not allowed:
            return Checked(None, wait_seconds=max(1, int((why["locked_until"] - now).total_seconds()) + 1))
        if _digits(typed) is not None:
            return Checked(app if app.verify_token(_digits(typed)) else None)
        device = _use_recovery_code(user, typed)
        if device is None:
            app.throttle_increment()
        else:
            app.throttle_reset()
        return Checked(device)


def remove(user: User) -> bool:
    """Take the second factor and the recovery codes away; whether there was one."""
    with transaction.atomic():
        had = device_of(user) is not None
        TOTPDevice.objects.filter(user=user).delete()
        StaticDevice.objects.filter(user=user).delete()
    return had


def _use_recovery_code(user: User, typed: str) -> StaticDevice | None:
    for stored in StaticToken.objects.select_related("device").filter(device__user=user, device__confirmed=True):
        if matches(PURPOSE, _plain(typed), stored.token, length=_KEPT):
            stored.delete()
            return stored.device
    return None


def _digits(typed: str) -> int | None:
    text = "".join(typed.split())
    return int(text) if len(text) == 6 and text.isascii() and text.isdigit() else None


def _plain(code: str) -> str:
    return "".join(letter for letter in code.lower() if letter.isalnum())


def _word() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(4))

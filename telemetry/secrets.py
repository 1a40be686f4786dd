"""Secrets at rest: digests for what is only compared, encryption for what must be used again."""

from __future__ import annotations

import base64
import hashlib
import hmac

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def digest(purpose: str, secret: str, *, key: str | None = None) -> str:
    """HMAC-SHA256 of a secret under a key of its own purpose, derived from SECRET_KEY; 64 hex digits."""
    return hmac.new(_derived(purpose, key or settings.SECRET_KEY), secret.encode(), hashlib.sha256).hexdigest()


def matches(purpose: str, secret: str, expected: str, *, length: int = 64) -> bool:
    """Whether the secret has that digest, under the current key or one of SECRET_KEY_FALLBACKS; constant time.

    `length` says how much of the digest was kept.
    """
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    # Every key is tried, so that the time does not tell which one fitted.
    return sum(hmac.compare_digest(digest(purpose, secret, key=key)[:length], expected) for key in keys) > 0


def encrypt(purpose: str, secret: str) -> str:
    """The secret encrypted (Fernet) under a key derived from SECRET_KEY; an empty string stays empty."""
    return _box(purpose).encrypt(secret.encode()).decode() if secret else ""


def decrypt(purpose: str, sealed: str) -> str:
    """What `encrypt` sealed. Raises ImproperlyConfigured when SECRET_KEY changed without GS_SECRET_KEY_PREVIOUS."""
    if not sealed:
        return ""
    try:
        return _box(purpose).decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise ImproperlyConfigured(
            "A stored secret cannot be read: SECRET_KEY changed. Set GS_SECRET_KEY_PREVIOUS to the old key."
        ) from error


def _box(purpose: str) -> MultiFernet:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(_derived(purpose, key))) for key in keys])


def _derived(purpose: str, key: str) -> bytes:
    return hmac.new(key.encode(), f"good-standing.{purpose}".encode(), hashlib.sha256).digest()

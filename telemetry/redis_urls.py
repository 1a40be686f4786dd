"""REDIS_URL is in Celery's words; this is the same in those of redis-py, for what we ask Redis ourselves."""

from __future__ import annotations

_SOCKETS = ("redis+socket", "rediss+socket")


def client_url(url: str) -> str | None:
    """The URL for redis-py. None where there is none: for no URL, and for Sentinels, which Celery alone asks."""
    scheme, _, rest = url.partition("://")
    if not url or scheme == "sentinel":
        return None
    return f"unix://{rest}" if scheme in _SOCKETS else url

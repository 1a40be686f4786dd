"""Time buckets, and the key of a counter cell."""

from __future__ import annotations

import hashlib
import struct
import uuid
from datetime import UTC, datetime, timedelta
from functools import lru_cache

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def floor_minute(moment: datetime) -> datetime:
    """The start of the minute (UTC) that holds this moment."""
    return moment.replace(second=0, microsecond=0)


def floor_hour(moment: datetime) -> datetime:
    """The start of the hour (UTC) that holds this moment."""
    return moment.replace(minute=0, second=0, microsecond=0)


def floor_day(moment: datetime) -> datetime:
    """The start of the day (UTC) that holds this moment."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def day_number(moment: datetime) -> int:
    """The day (UTC) that holds this moment, counted from 1970."""
    return (moment - _EPOCH) // DAY


def ceil_to(moment: datetime, step: timedelta) -> datetime:
    """The first bucket border of that step at or after this moment."""
    return moment + (_EPOCH - moment) % step


@lru_cache(maxsize=100_000)
def cell_key(bucket: datetime, *parts: str | int) -> uuid.UUID:
    """The primary key of a counter cell: minutes since 1970 in 32 bits, then 96 bits of a digest of its dimensions.

    One fixed-size key instead of a wide text index; and because it begins with the time, rows of one time lie together
    and a range of keys is a range of time (see `first_key`). At a billion cells a minute two keys would collide once in
    10^11 minutes.
    """
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        text = str(part).encode()
        digest.update(b"%d:" % len(text))
        digest.update(text)
    return uuid.UUID(bytes=_prefix(bucket) + digest.digest())


def first_key(bucket: datetime) -> uuid.UUID:
    """The smallest key that a cell of this bucket, or of a later one, can have."""
    return uuid.UUID(bytes=_prefix(bucket) + bytes(12))


def _prefix(bucket: datetime) -> bytes:
    return struct.pack(">I", int((bucket - _EPOCH).total_seconds()) // 60)

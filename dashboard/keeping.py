"""Sums that take long to read are believed for a while, so that paging, narrowing and refreshing do not repeat them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

T = TypeVar("T")
# Seconds: what was read faster than this is always read anew, …
WORTH_KEEPING = 0.5
# … and the rest is believed for so many times as long as reading it took: 5 % of a process's time at most.
KEPT_FOR = 20
_MOST = 100
_kept: dict[Hashable, tuple[datetime, datetime, Any]] = {}


def kept(what: Hashable, read: Callable[[], T], *, now: datetime) -> T:
    """What `read` returns, or what it returned not long ago."""
    found = _kept.get(what)
    if found is not None and found[0] <= now < found[1]:
        return cast("T", found[2])
    began = time.perf_counter()
    value = read()
    took = time.perf_counter() - began
    if took >= WORTH_KEEPING:
        if len(_kept) >= _MOST:
            _kept.clear()
        _kept[what] = (now, now + timedelta(seconds=took * KEPT_FOR), value)
    return value


def forget() -> None:
    """Read everything anew."""
    _kept.clear()

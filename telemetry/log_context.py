"""What a line of the log belongs to: a request, a batch of events, a periodic task. Kept per thread of execution."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b

HEADER = "X-Request-ID"
BATCH_HEADER = "X-Batch-ID"
# What others may call a request: it stands in our log as it came.
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{8,64}")
# Batches recorded by one transaction that a line names.
MOST_NAMED = 10

_bound: ContextVar[dict[str, str] | None] = ContextVar("log_context", default=None)


def request_id(given: str) -> str:
    """The id of a request: what came with it where that is well formed, else a new one."""
    return given if _WELL_FORMED.fullmatch(given) else secrets.token_hex(16)


def batch_id(body: bytes) -> str:
    """The id of a body of events. One that is sent again has the same, so that the log tells of all its attempts."""
    return blake2b(body, digest_size=8).hexdigest()


@contextmanager
def bound(**fields: str) -> Iterator[None]:
    """Lines that are written meanwhile carry these fields too; empty ones are left out."""
    token = _bound.set({**(_bound.get() or {}), **{name: value for name, value in fields.items() if value}})
    try:
        yield
    finally:
        _bound.reset(token)


def several(ids: Iterable[str]) -> str:
    """Some ids as one field."""
    found = list(dict.fromkeys(filter(None, ids)))
    return ",".join(found[:MOST_NAMED]) + (",…" if len(found) > MOST_NAMED else "")


def current(name: str) -> str:
    """The field as it is bound now; empty where it is not."""
    return (_bound.get() or {}).get(name, "")


class Context(logging.Filter):
    """Puts what is bound on each record that has no such field of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Never drops a record."""
        for name, value in (_bound.get() or {}).items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True

"""Keeps the desk of a serving process: the book fresh, the record and the budgets written, in a thread of its own.

Only servers switch it on. Elsewhere (commands, tests) the book is read when it is asked for and nothing runs behind.
"""

from __future__ import annotations

import atexit
import logging
import threading

from django.db import connection, connections

from reputation.permits import UNAVAILABLE, Desk, desk

log = logging.getLogger(__name__)

EVERY = 0.5  # seconds
_switched_on = threading.Event()
_stop = threading.Event()
_lock = threading.Lock()
_thread: threading.Thread | None = None


def switch_on() -> None:
    """This process serves; the thread starts with the first permit, so a server that is never asked has none."""
    _switched_on.set()


def ensure() -> None:
    """Start the thread if this process serves and it does not run yet (a fork takes no threads along)."""
    global _thread  # noqa: PLW0603 - one per process
    if not _switched_on.is_set() or (_thread is not None and _thread.is_alive()):
        return
    with _lock:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_run, args=(desk(),), name="permits", daemon=True)
            _thread.start()
            atexit.register(_finish)


def _run(kept: Desk) -> None:
    while not _stop.wait(EVERY):
        keep(kept)
    connections.close_all()


def keep(kept: Desk) -> None:
    """Read the book, write the record, learn MX hosts; what fails is tried again the next time."""
    try:
        kept.books.refresh()
        kept.write_down()
    except UNAVAILABLE as error:
        connection.close()
        log.warning("the record of permits waits", extra={"error": type(error).__name__})
    kept.books.mx.learn_behind()


def _finish() -> None:
    _stop.set()
    if _thread is not None:
        _thread.join(5)
    keep(desk())

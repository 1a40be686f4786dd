"""What is done to the house. Each episode breaks something, and says what then has to work again by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from tests.servers import with_children
from tests.torture.rig import PROCESSES, Rig, pause


@dataclass(frozen=True)
class Episode:
    """One kind of harm."""

    name: str
    harm: Callable[[Rig, float], None]
    """Breaks something and, after about that many seconds, gives back what the house cannot give itself."""
    killed: tuple[str, ...] = ()
    """Processes that may have been started anew; all others have to survive."""
    databases: tuple[str, ...] = ("postgres", "sqlite")
    restarts_database: bool = False
    needs_clock: bool = False


def _kill(*names: str) -> Callable[[Rig, float], None]:
    """Kill the process that was started, and only that: what it started itself has to go by itself."""

    def harm(rig: Rig, _: float) -> None:
        for name in names:
            rig.orphans += with_children(rig.house.processes[name].pid)[1:]
            rig.house.kill(name)

    return harm


def _kill_web_worker(rig: Rig, _: float) -> None:
    """The process that answers, not the one that watches over it."""
    for pid in with_children(rig.house.processes["web"].pid)[1:]:
        os.kill(pid, signal.SIGKILL)


def _kill_valkey(rig: Rig, seconds: float) -> None:
    rig.valkey.kill()
    pause(seconds)
    rig.valkey.start()


def _kill_postgres(rig: Rig, _: float) -> None:
    before = rig.restarts["postgres"]
    rig.kill_database()
    _wait_for(lambda: rig.restarts["postgres"] > before and rig.runs() >= 0)


def _kill_backends(rig: Rig, _: float) -> None:
    """One backend: the server then throws everybody out and recovers."""
    assert rig.postgres is not None
    (pid,) = rig.query(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'good-standing' AND pid <> pg_backend_pid() "
        "ORDER BY backend_start DESC LIMIT 1"
    )[0]
    os.kill(pid, signal.SIGKILL)


def _fill_disk(rig: Rig, seconds: float) -> None:
    rig.disk.fill(rig.database_pids)
    pause(seconds)
    rig.disk.make_room(rig.database_pids)


def _stop_postgres(rig: Rig, seconds: float) -> None:
    assert rig.postgres is not None
    rig.postgres.signal_all(signal.SIGSTOP)
    pause(seconds)
    rig.postgres.signal_all(signal.SIGCONT)


def _two_beats(rig: Rig, seconds: float) -> None:
    name = rig.start_another("beat")
    before = rig.runs()
    _wait_for(lambda: rig.runs() > before)
    pause(seconds)
    rig.end(name)


def _clock(ahead: timedelta) -> Callable[[Rig, float], None]:
    def harm(rig: Rig, seconds: float) -> None:
        rig.set_clock(ahead)
        pause(seconds)

    return harm


def _clock_and_back(ahead: timedelta) -> Callable[[Rig, float], None]:
    def harm(rig: Rig, seconds: float) -> None:
        before = rig.runs()
        rig.set_clock(ahead)
        # Long enough for turns to be taken in the wrong time.
        _wait_for(lambda: rig.runs() > before, seconds=60)
        pause(seconds)
        rig.set_clock(timedelta())

    return harm


def _wait_for(condition: Callable[[], bool], *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


EPISODES = (
    Episode("kill -9 web", _kill("web"), killed=("web",)),
    Episode("kill -9 web's inner process", _kill_web_worker, killed=("web",)),
    Episode("kill -9 worker", _kill("worker"), killed=("worker",)),
    Episode("kill -9 beat", _kill("beat"), killed=("beat",)),
    Episode("kill -9 web, worker and beat", _kill(*PROCESSES), killed=PROCESSES),
    Episode("kill -9 Valkey, empty one", _kill_valkey),
    Episode("kill -9 PostgreSQL", _kill_postgres, databases=("postgres",), restarts_database=True),
    Episode("kill -9 a backend", _kill_backends, databases=("postgres",)),
    Episode("full disk", _fill_disk, restarts_database=True),
    Episode("SIGSTOP of PostgreSQL", _stop_postgres, databases=("postgres",)),
    Episode("two beats", _two_beats),
    Episode("clock 1 h forward and back", _clock_and_back(timedelta(hours=1)), needs_clock=True),
    Episode("clock 20 min back and forward", _clock_and_back(timedelta(minutes=-20)), needs_clock=True),
)

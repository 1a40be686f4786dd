"""Counters of several processes on one page: each process keeps its own in memory-mapped files of one folder.

Web, worker, beat and policyd count by themselves, and whichever web process answers /metrics adds up what all of them
counted. A process takes the first free place in the folder and holds it by a lock that the kernel takes back when the
process ends, whatever way it ends. Who takes a place goes on from the values left there. So there are never more files
than processes at one time, and counters go on over restarts instead of jumping. Gauges are of the living only.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import prometheus_client.values
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

# What each kind of file is given at once. A mapped page without room on the disk behind it would end the process
# (SIGBUS) when it is written to; what is counted beyond that grows as the library makes it grow.
SIZES = {"counter": 512 * 1024, "histogram": 2 * 1024 * 1024, "gauge_livesum": 64 * 1024}
MOST_PLACES = 1_000
IN_MEMORY = "/dev/shm"  # noqa: S108 - a folder with a name of its own is made there


class Places:
    """A folder of places, of which this process holds one; after a fork the child takes one of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid: int | None = None
        self._name = ""
        self._lock: int | None = None

    def mine(self) -> str:
        """The name of this process's place. Raises OSError where none can be had."""
        pid = os.getpid()
        if self._pid != pid:
            if self._lock is not None:
                # The parent holds the lock by its own descriptor: closing ours does not give it back.
                os.close(self._lock)
                self._lock = None
            try:
                self._name = self._take()
            except OSError:
                if self._pid is None:
                    raise
                self._name = self._apart()
            self._pid = pid
        return self._name

    def files(self) -> list[str]:
        """The files to be added up: everyone's, but gauges only of processes that live."""
        return [
            str(path)
            for path in sorted(self._folder.glob("*.db"))
            if os.access(path, os.R_OK) and (not path.name.startswith("gauge_") or self._is_held(_place_of(path)))
        ]

    def _apart(self) -> str:
        """A child that finds no place goes on, in memory where there is such a folder; what it counts is not told."""
        log.warning("what this process counts is not told", exc_info=True)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(
            prefix="good-standing-", dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
        )
        return str(os.getpid())

    def _take(self) -> str:
        # The data folder may be among the missing ones, and `parents` would leave it open to others.
        for folder in reversed([self._folder, *self._folder.parents]):
            folder.mkdir(exist_ok=True, mode=0o700)
        for number in range(MOST_PLACES):
            try:
                lock = os.open(self._folder / f"{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            except PermissionError:
                continue  # somebody else's, such as root's
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._make_room(str(number))
            except BlockingIOError:
                os.close(lock)
                continue
            except PermissionError:
                os.close(lock)
                continue
            except OSError:
                os.close(lock)
                raise
            self._lock = lock
            return str(number)
        raise OSError(f"no free place in {self._folder}")

    def _make_room(self, name: str) -> None:
        for kind, size in SIZES.items():
            path = self._folder / f"{kind}_{name}.db"
            if kind.startswith("gauge_"):
                path.unlink(missing_ok=True)  # the last holder's
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(file, 0, size)
            except OSError:
                if os.fstat(file).st_size < size:
                    path.unlink()
                raise
            finally:
                os.close(file)

    def _is_held(self, name: str) -> bool:
        try:
            lock = os.open(self._folder / f"{name}.lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False


def _place_of(path: Path) -> str:
    return path.stem.rpartition("_")[2]


def _merged(files: list[str]) -> Iterable[Metric]:
    merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
    return merged


class Shared(Collector):
    """What all processes of the folder counted."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def describe(self) -> list[Metric]:
        """Nothing: registering reads no files."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The files' values, added up; a file that cannot be read (a power cut) is left out and said to be."""
        files = self._places.files()
        try:
            yield from _merged(files)
            return
        except (OSError, RuntimeError, ValueError):
            log.warning("a file of counters cannot be read", exc_info=True)
        readable = []
        for file in files:
            with suppress(OSError, RuntimeError, ValueError):
                _merged([file])
                readable.append(file)
        yield from _merged(readable)


_shared: list[Shared] = []


def share(folder: Path) -> None:
    """From now on count in that folder. To be called before the first metric is made, and once per process.

    Where the folder cannot be written each process counts for itself: a full disk stops no request.
    """
    if _shared:
        return
    places = Places(folder)
    try:
        places.mine()
    except OSError as error:
        log.warning("metrics are of single processes", extra={"folder": str(folder), "why": str(error)})
        # What a parent process shares may stand in the environment.
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        prometheus_client.values.ValueClass = prometheus_client.values.MutexValue
        return
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    prometheus_client.values.ValueClass = prometheus_client.values.MultiProcessValue(places.mine)  # type: ignore[no-untyped-call]
    _shared.append(Shared(places))


def shared() -> Shared | None:
    """The collector of what all processes counted; None where each counts for itself."""
    return _shared[0] if _shared else None

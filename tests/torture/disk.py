"""A disk that can be full: a small tmpfs; without the right to mount, a limit on how long our files may grow."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# Written until not even this much goes in.
SMALLEST = 4096


class SmallDisk:
    """A folder on a tmpfs of its own, or on the ordinary disk where mounting is not allowed."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(folder)]
        try:
            self.is_own = subprocess.run(command, check=False, capture_output=True).returncode == 0
        except FileNotFoundError:
            self.is_own = False
        self._full = threading.Event()
        self._filler: threading.Thread | None = None

    @property
    def how(self) -> str:
        """What makes it full, for the table."""
        return "tmpfs" if self.is_own else "RLIMIT_FSIZE"

    def fill(self, pids: Callable[[], list[int]]) -> None:
        """Leave no room, and take what becomes free, until `make_room`. `pids` are those who write to it."""
        self._full.set()
        work = self._write_ballast if self.is_own else lambda: self._limit(pids)
        self._filler = threading.Thread(target=work, daemon=True)
        self._filler.start()

    def make_room(self, pids: Callable[[], list[int]]) -> None:
        """Room again."""
        self._full.clear()
        if self._filler is not None:
            self._filler.join(30)
        if self.is_own:
            (self.folder / "ballast").unlink(missing_ok=True)
        else:
            _set_limit(pids(), resource.RLIM_INFINITY)

    def close(self) -> None:
        """Take the disk away; whoever still has a file open keeps it until then."""
        self._full.clear()
        if self.is_own:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False)

    def _write_ballast(self) -> None:
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            size = 1 << 20
            while self._full.is_set():
                try:
                    ballast.write(bytes(size))
                except OSError:
                    size = max(size // 2, SMALLEST)
                    if size == SMALLEST:
                        threading.Event().wait(0.05)

    def _limit(self, pids: Callable[[], list[int]]) -> None:
        # Our logs are small; the database's files and its journal are longer than this.
        while self._full.is_set():
            _set_limit(pids(), 256 * 1024)
            threading.Event().wait(0.05)


def _set_limit(pids: list[int], soft: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def usage(folder: Path) -> float:
    """Which share of the file system is taken, 0–1."""
    found = os.statvfs(folder)
    return 1 - found.f_bavail / found.f_blocks

"""A clock that can be set while programs run: a few lines of C, loaded into each of our processes before libc.

Only the time of day changes; what counts seconds (CLOCK_MONOTONIC) goes on, as when an operator or NTP sets a clock.
Setting the machine's clock would do the same to everybody else on it.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from datetime import timedelta
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


def compiler() -> str | None:
    """What compiles C here, if anything does."""
    return shutil.which("cc") or shutil.which("gcc")


class Clock:
    """The clock of all processes that are started with its environment."""

    def __init__(self, folder: Path, command: str) -> None:
        library = folder / "clock.so"
        subprocess.run([command, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), str(SOURCE)], check=True)
        shared = folder / "clock"
        shared.write_bytes(struct.pack("=q", 0))
        self._file = shared.open("r+b", buffering=0)
        self.environment = {"LD_PRELOAD": str(library), "TORTURE_CLOCK": str(shared)}

    def set(self, ahead: timedelta) -> None:
        """At once, their time of day is this far ahead of ours (negative: behind)."""
        self._file.seek(0)
        self._file.write(struct.pack("=q", round(ahead.total_seconds())))

    def close(self) -> None:
        """Let go of the file; the time stays as it was set."""
        self._file.close()

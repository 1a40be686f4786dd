"""Run a program that ends when whoever started it ends, even when that was by kill -9.

A program of its own (``python -IS leash.py STARTER_PID SIGNAL PROGRAM ARGUMENT…``) because the wish must be set in the
new process before the program begins, and code between fork and exec is not safe in a process with threads. Linux
keeps the promise (``PR_SET_PDEATHSIG``, prctl(2)); elsewhere the program simply runs.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def leashed(command: list[str], signal_number: int) -> list[str]:
    """The command line that runs `command` so that it gets the signal when the calling process dies.

    The kernel watches the calling *thread*: start leashed programs from a thread that lives as long as the process.
    """
    return [sys.executable, "-IS", str(Path(__file__)), str(os.getpid()), str(int(signal_number)), *command]


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send this process the signal when its parent ends; does nothing where that cannot be asked."""
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal_number)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def main() -> None:
    """Set the wish, make sure the starter is still there, become the program."""
    starter, signal_number, *command = sys.argv[1:]
    die_with_parent(int(signal_number))
    if os.getppid() != int(starter):
        sys.exit("the process that started this one is gone")
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()

"""Starts several programs, shows their output line by line, and stops them one after the other.

The Procfile is read and the lines are printed by honcho. Its manager is not used: it stops all programs at the same
moment and kills after five seconds, while we promise that the web process finishes what it accepted first and that
the broker goes last.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TextIO

from honcho.printer import Message, Printer

from reputation_site.leash import leashed

COLOURS = ("36", "33", "35", "32", "34", "31")
# One press of Ctrl-C can arrive twice (from the terminal and from make); only a later one means "now".
IMPATIENT_AFTER = 1.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Program:
    """What to start, and how it wants to be stopped."""

    name: str
    command: list[str]
    stop_rank: int  # low numbers are stopped first
    stop_within: timedelta  # how long it may take to finish what it does after SIGTERM
    if_orphaned: signal.Signals = signal.SIGTERM  # what it gets when the supervisor is killed


@dataclass
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    reader: threading.Thread


class Supervisor:
    """Runs programs until one of them ends or a signal asks to stop. Use it in the main thread, once."""

    def __init__(self, output: TextIO, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._printer = Printer(output, width=len("system"))
        self._printing = threading.Lock()
        self._output_is_gone = False
        self._running: list[_Running] = []
        self._asked_to_stop_at: float | None = None  # by the monotonic clock
        self._impatient = False
        # Signals write a byte here, so that waiting for one needs no polling and cannot miss any.
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)

    def take_signals(self) -> None:
        """From now on Ctrl-C, SIGTERM and a closed terminal ask to stop instead of ending this process."""
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in STOP_SIGNALS:
            # What runs under nohup ignores SIGHUP and shall go on doing so.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, number: int, _: object) -> None:
        now = time.monotonic()
        if self._asked_to_stop_at is None:
            self._asked_to_stop_at = now
        elif number == signal.SIGINT and now - self._asked_to_stop_at > IMPATIENT_AFTER:
            self._impatient = True

    @property
    def must_stop(self) -> bool:
        """Whether somebody asked to stop."""
        return self._asked_to_stop_at is not None

    def start(self, program: Program) -> None:
        """Start a program in a process group of its own, so that Ctrl-C reaches only us."""
        process = subprocess.Popen(
            leashed(program.command, program.if_orphaned),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            process_group=0,
        )
        colour = COLOURS[len(self._running) % len(COLOURS)]
        reader = threading.Thread(target=self._relay, args=(program.name, process, colour), daemon=True)
        self._running.append(_Running(program, process, reader))
        reader.start()

    def say(self, text: str, *, name: str | None = "system", colour: str | None = None) -> None:
        """Print lines; without a name they stand alone, without time and prefix."""
        with self._printing:
            if self._output_is_gone:
                return
            try:
                if name is None:
                    print(text, file=self._printer.output, flush=True)
                else:
                    # The time is for the eye at the terminal, hence local.
                    moment = datetime.now()  # noqa: DTZ005
                    self._printer.write(Message(type="line", data=text, time=moment, name=name, colour=colour))
            except OSError:
                # Whoever read us has left (`make run | head`). The programs must still be drained, or they would block.
                self._output_is_gone = True

    def _relay(self, name: str, process: subprocess.Popen[bytes], colour: str) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.say(line.decode(errors="replace").rstrip("\r\n"), name=name, colour=colour)

    def ended(self) -> Program | None:
        """A program that ended although nobody asked it to, if there is one."""
        for running in self._running:
            if running.process.poll() is not None:
                return running.program
        return None

    def wait(self, seconds: float | None = None) -> None:
        """Return at the next signal (a child's end is one too), or after that many seconds."""
        if select.select([self._wake_reader], [], [], seconds)[0]:
            with suppress(BlockingIOError):
                while os.read(self._wake_reader, 4096):
                    pass

    def run(self) -> bool:
        """Watch until asked to stop (True) or until a program ended by itself (False)."""
        while not self.must_stop:
            program = self.ended()
            if program is not None:
                code = next(r.process.returncode for r in self._running if r.program is program)
                self.say(f"{program.name} ended by itself (exit code {code}); stopping the rest")
                return False
            self.wait()
        return True

    def stop(self) -> bool:
        """Stop everything in order, each with the time it needs; True when nobody had to be killed.

        Another Ctrl-C on the way kills what is left at once.
        """
        clean = True
        for running in sorted(self._running, key=lambda one: one.program.stop_rank):
            clean &= self._stop(running)
        for running in self._running:
            running.reader.join(2)
        self._running.clear()
        return clean

    def _stop(self, running: _Running) -> bool:
        process, program = running.process, running.program
        finished = True
        if process.poll() is None:
            process.terminate()
            until = time.monotonic() + program.stop_within.total_seconds()
            while process.poll() is None and time.monotonic() < until and not self._impatient:
                self.wait(max(0.0, min(0.5, until - time.monotonic())))
            finished = process.poll() is not None
            if not finished:
                self.say(f"{program.name} had to be killed before it finished")
        # Its own children, if it left any: nobody outlives us.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return finished

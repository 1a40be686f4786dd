"""``manage.py serve``: the whole product in one command, from an empty folder to the first curl."""

from __future__ import annotations

import fcntl
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL, SIGTERM
from time import monotonic
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from honcho.environ import parse_procfile

from reputation_site import broker
from reputation_site.first_start import FirstStart, make_first_things
from reputation_site.probe import web_answers
from reputation_site.supervisor import Program, Supervisor
from reputation_site.web import FINISH_WITHIN
from reputation_site.welcome import welcome

PROCESSES = ("web", "policyd", "worker", "beat")  # also the order in which they are stopped; the broker goes last
ANSWER_WITHIN = timedelta(seconds=60)
STOP_WITHIN = {
    "web": FINISH_WITHIN + timedelta(seconds=10),
    "worker": timedelta(seconds=60),  # a scoring run on a full database, with room to spare
    "beat": timedelta(seconds=10),
    "policyd": timedelta(seconds=10),
    "broker": timedelta(seconds=10),
}


class Command(BaseCommand):
    """Start broker, web, worker, beat and the Postfix services; stop them cleanly."""

    help = "Migrate, make the first admin and source, then run web, policyd, worker, beat and (without "
    "REDIS_URL) a broker."

    def handle(self, *_: object, **__: object) -> None:
        """Serve until Ctrl-C or SIGTERM; the exit code is 0 when everything finished what it had begun."""
        os.umask(0o077)  # what we and our programs write holds secrets and addresses
        self.supervisor = Supervisor(sys.stdout, _environment())
        with _only_one():
            _port_must_be_free()
            self.supervisor.take_signals()
            try:
                clean = self._serve()
            finally:
                if self.supervisor.must_stop:
                    self.supervisor.say("stopping: what was accepted is finished first")
                finished = self.supervisor.stop()
            self.supervisor.say("stopped")
        if not (clean and finished):
            sys.exit(1)

    def _serve(self) -> bool:
        if settings.EMBEDDED_BROKER:
            self._start_broker()
        call_command("migrate", interactive=False, verbosity=0)
        self.before_start()
        made = make_first_things()
        # The processes have their own connections; ours would only hold a file or a server's slot.
        connections.close_all()
        commands = parse_procfile((settings.BASE_DIR / "Procfile").read_text(encoding="utf-8")).processes
        for rank, name in enumerate(PROCESSES):
            if self.supervisor.must_stop:
                return True
            # A worker or beat whose broker dies with us may wait for it for ever, whatever it is asked. The worker's
            # pool ends too, and the database rolls back what it had not committed; beat has nothing to finish.
            orphaned = SIGKILL if name in ("worker", "beat") else SIGTERM
            # "exec" is for the shells of honcho and its like, so that signals reach the program; we use no shell.
            command = shlex.split(commands[name].removeprefix("exec "))
            self.supervisor.start(Program(name, command, rank, STOP_WITHIN[name], orphaned))
        if self._web_answers(made):
            self.when_live(made)
        return self.supervisor.run()

    def before_start(self) -> None:
        """Called when the database is up to date and nothing uses it yet."""

    def when_live(self, made: FirstStart) -> None:
        """Called when /healthz answers: say where to look and what to do next."""
        self.supervisor.say(welcome(made), name=None)

    def _start_broker(self) -> None:
        until = monotonic() + 5
        # After a kill -9 of the last serve its broker may need a moment to end.
        while broker.answers() and monotonic() < until:
            self.supervisor.wait(0.1)
        if broker.answers():
            raise CommandError(
                f"A broker that is not ours already answers at {settings.BROKER_SOCKET}. "
                "Stop it with: python manage.py broker --stop"
            )
        try:
            command = broker.server_command()
        except broker.BrokerMissingError as error:
            raise CommandError(str(error)) from None
        self.supervisor.start(Program("broker", command, len(PROCESSES), STOP_WITHIN["broker"]))
        until = monotonic() + 20
        while not broker.answers():
            if self.supervisor.ended() or monotonic() > until:
                raise CommandError(f"The broker did not start; {broker.log_file()} says why.")
            self.supervisor.wait(0.02)

    def _web_answers(self, made: FirstStart) -> bool:
        """Wait for /healthz; False when there is no point in waiting on."""
        until = monotonic() + ANSWER_WITHIN.total_seconds()
        while not self.supervisor.must_stop and not self.supervisor.ended():
            if web_answers(within=10):
                return True
            if monotonic() > until:
                # The secrets exist and are shown only once: they must not get lost with a slow start.
                self.supervisor.say(welcome(made), name=None)
                raise CommandError(f"The web process gave no answer within {ANSWER_WITHIN.seconds} s; stopping.")
            self.supervisor.wait(0.05)
        if made.password or made.token:
            self.supervisor.say(welcome(made), name=None)
        return False


def _environment() -> dict[str, str]:
    """Ours, with this Python's programs first, so that the Procfile's `python` is the one we run on."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


@contextmanager
def _only_one() -> Iterator[None]:
    """Hold the data folder's lock, made with the folder; whoever comes second is told who holds it."""
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (settings.DATA_DIR / "serve.lock").open("a+", encoding="ascii") as file:
        try:
            # The kernel lets go of it whatever way we end, kill -9 included.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise CommandError(
                f"Good Standing already runs on {settings.DATA_DIR} (process {file.read().strip() or 'unknown'}). "
                "Stop it, or choose another folder with GS_DATA_DIR and another port with GS_PORT."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _addresses() -> list[Any]:
    return socket.getaddrinfo(settings.LISTEN_HOST, settings.LISTEN_PORT, type=socket.SOCK_STREAM)


def _port_must_be_free() -> None:
    where = f"{settings.LISTEN_HOST}:{settings.LISTEN_PORT}"
    try:
        for family, kind, protocol, _, address in _addresses()[:1]:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen(1)
    except OSError as error:
        hint = f"choose another port, for example GS_PORT={settings.LISTEN_PORT % 65535 + 1}"
        raise CommandError(f"Cannot listen on {where}: {error.strerror or error}; {hint}, or set GS_HOST.") from None

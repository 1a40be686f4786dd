"""The Postfix services: may this be sent now, and by which transport."""

from __future__ import annotations

import asyncio
import signal
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from reputation.budgets import store
from reputation.enforcement.postfix import Counterparts, serve
from reputation.models import Pool
from reputation.permit_facts import Books
from reputation.permit_record import Recorder
from reputation.permits import Desk

OFF = "off"
TRY_AGAIN = 5.0  # seconds


class Command(BaseCommand):
    """Serve Postfix's policy delegation protocol and its socketmap lookups until SIGTERM."""

    help = (
        "Answers Postfix: smtpd asks the policy service whether a sender may send to a recipient now; the queue "
        "manager asks the socketmap which transport, hence which sending IP, to use. See docs/postfix.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where to listen, and for which pool."""
        parser.add_argument(
            "--listen",
            default=settings.POLICYD_LISTEN,
            metavar="HOST:PORT",
            help=f"policy service (default {settings.POLICYD_LISTEN}; {OFF!r}: none)",
        )
        parser.add_argument(
            "--socketmap",
            default=settings.SOCKETMAP_LISTEN,
            metavar="HOST:PORT",
            help=f"socketmap service (default {settings.SOCKETMAP_LISTEN}; {OFF!r}: none)",
        )
        parser.add_argument(
            "--pool", default="", help="the pool this server sends by; default: the sending domain's, else the default"
        )
        parser.add_argument(
            "--count-at",
            default="RCPT",
            choices=["RCPT", "DATA", "END-OF-MESSAGE"],
            help="the protocol state whose requests are counted; others are answered without counting (default RCPT)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve."""
        policy, socketmap = _address(options["listen"], "--listen"), _address(options["socketmap"], "--socketmap")
        if policy is None and socketmap is None:
            self.stdout.write("policyd: both services are switched off")
            self.stdout.flush()
            # Whoever runs the Procfile expects a process that stays.
            asyncio.run(_stopped(within=None))
            return
        pool: str = options["pool"]
        if pool and not Pool.objects.filter(name=pool).exists():
            raise CommandError(f"There is no pool {pool!r}.")
        desk = Desk(Books(), store(), Recorder())
        parts = Counterparts(desk, pool=pool, state=options["count_at"])

        def ready(now: datetime) -> None:
            for word, address in (("policy service", policy), ("socketmap", socketmap)):
                if address is not None:
                    self.stdout.write(f"{word} at {address[0]}:{address[1]}")
            self.stdout.flush()

        async def main() -> None:
            await serve(parts, policy=policy, socketmap=socketmap, ready=ready, stop=_stop_signal())

        # As a line of the Procfile it must not take the others down with it when something else listens there.
        told = {options["listen"], options["socketmap"]} != {settings.POLICYD_LISTEN, settings.SOCKETMAP_LISTEN}
        while True:
            try:
                asyncio.run(main())
            except OSError as error:
                why = f"Cannot listen: {error.strerror or error}."
                if told:
                    raise CommandError(why) from error
                self.stderr.write(f"policyd: {why} Set GS_POLICYD_LISTEN and GS_SOCKETMAP_LISTEN; trying again.")
                if asyncio.run(_stopped(within=TRY_AGAIN)):
                    return
            else:
                return


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _stopped(*, within: float | None) -> bool:
    """Whether a signal to stop came within that many seconds (None: wait for it)."""
    try:
        await asyncio.wait_for(_stop_signal().wait(), within)
    except TimeoutError:
        return False
    return True


def _address(text: str, option: str) -> tuple[str, int] | None:
    if text == OFF:
        return None
    host, mark, port = text.rpartition(":")
    if not mark or not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
        raise CommandError(f"{option}: {text!r} is not HOST:PORT.")
    return host.strip("[]"), int(port)

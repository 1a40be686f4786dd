"""``manage.py broker``: the embedded broker in the foreground, for who runs the Procfile without `serve`."""

from __future__ import annotations

import os
from argparse import ArgumentParser

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from reputation_site import broker


class Command(BaseCommand):
    """Become the Valkey server of the data folder."""

    help = "Run the embedded broker in the foreground (serve does this by itself)."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add ``--stop``."""
        parser.add_argument("--stop", action="store_true", help="stop the broker that answers at the socket")

    def handle(self, *_: object, stop: bool, **__: object) -> None:
        """Run or stop it."""
        if not settings.EMBEDDED_BROKER:
            raise CommandError("REDIS_URL is set: that broker is used and none is started here.")
        if stop:
            if not broker.answers():
                raise CommandError(f"No broker answers at {settings.BROKER_SOCKET}.")
            broker.shut_down()
            return
        if broker.answers():
            raise CommandError(f"A broker already answers at {settings.BROKER_SOCKET}.")
        settings.DATA_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            command = broker.server_command()
        except broker.BrokerMissingError as error:
            raise CommandError(str(error)) from None
        os.execv(command[0], command)  # noqa: S606

"""``manage.py score``: judge now instead of waiting for the next run."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from reputation.models import IpStanding
from reputation.scores import score_senders
from reputation.standing import score_ips
from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import UNKNOWN_IP


class Command(BaseCommand):
    """Safe beside the periodic run: a status changes once, whoever finds it."""

    help = "Judge every sending IP with events in its window and score every sender, or judge one IP."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add ``--ip``."""
        parser.add_argument("--ip", help="judge only this sending IP")

    def handle(self, *_: object, ip: str | None, **__: object) -> None:
        """Judge and show, worst first."""
        now = timezone.now()
        if ip is None:
            self._show(score_ips(now=now))
            self.stdout.write(f"{score_senders(now=now)} scores of domains, IPs and providers were computed.")
            return
        try:
            address = clean.ip(ip, "ip")
        except ParseError as error:
            raise CommandError(f"{ip!r} {error.message}.") from None
        if address == UNKNOWN_IP:
            raise CommandError("The unknown IP has no standing.")
        self._show(score_ips([address], now=now))

    def _show(self, rows: list[IpStanding]) -> None:
        if not rows:
            self.stdout.write("No events in the window: nothing to judge.")
        for row in sorted(rows, key=lambda row: (-row.severity, row.sending_ip)):
            self.stdout.write(f"{row.sending_ip:39} {row.status:11} {row.why}")

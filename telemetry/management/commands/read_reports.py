"""``manage.py read_reports``: complaints and bounces out of a mailbox, or of a mail on standard input."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from telemetry.mail_boxes import NoMailError, mails_in, mails_of
from telemetry.models import Source
from telemetry.parsers.report_mail import read_mail
from telemetry.reports import Outcome, record
from telemetry.retention import keeps

TELL_EVERY = 1000
OLD = "too old"


class Command(BaseCommand):
    """Reads without changing the mailbox; running it again counts nothing twice.

    What was taken is remembered as long as receipts are kept. A mail older than that is left out, as nobody could tell
    whether it was taken before; --old takes it all the same.
    """

    help = "Take complaints (ARF) and bounces (DSN) out of a Maildir, an mbox, or a mail on standard input."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("path", nargs="+", help="a Maildir, an mbox, a mail or a folder of mails; - is stdin")
        parser.add_argument("--source", metavar="NAME", required=True, help="the source to record under")
        parser.add_argument(
            "--old",
            action="store_true",
            help="take mails older than receipts are kept (7 days) too: for a first import, as twice would count twice",
        )

    def handle(self, *_: object, path: list[str], source: str, old: bool, **__: Any) -> None:
        """Read every mail, saying from time to time how far it is."""
        found = Source.objects.filter(name=source).first()
        if found is None:
            known = ", ".join(Source.objects.values_list("name", flat=True)[:20]) or "none"
            raise CommandError(f"There is no source named {source!r}. Sources: {known}.")
        tally: Counter[str] = Counter()
        events = 0
        for place in path:
            try:
                for raw in self._mails(place):
                    what, recorded = self._take(found, raw, old=old)
                    tally[what] += 1
                    events += recorded
                    if tally.total() % TELL_EVERY == 0:
                        self.stderr.write(f"{tally.total()} mails read, {events} events recorded")
            except NoMailError as error:
                raise CommandError(str(error)) from None
        parts = [f"{tally[what]} {what}" for what in (*Outcome, OLD) if tally[what]]
        self.stdout.write(f"{tally.total()} mails: {', '.join(parts) or 'nothing'}; {events} new events.")
        if tally[OLD]:
            self.stderr.write("Mails that are too old were left out; --old takes them (once: twice would count twice).")

    def _mails(self, place: str) -> Iterator[bytes]:
        return mails_of(sys.stdin.buffer) if place == "-" else mails_in(Path(place))

    def _take(self, source: Source, raw: bytes, *, old: bool) -> tuple[str, int]:
        now = timezone.now()
        reading = read_mail(raw, now, source.ip_map)
        if not old and reading.dated is not None and now - reading.dated > keeps("receipts"):
            return OLD, 0
        taken = record(source, raw, reading, now=now)
        return taken.outcome, taken.recorded

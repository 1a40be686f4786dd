"""``manage.py forget ADDRESS``: take a person's address out of everything that is stored."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from reputation_site.forgetting import forget
from telemetry.domain import clean
from telemetry.domain.errors import ParseError


class Command(BaseCommand):
    """Progress goes to standard output table by table; the address is not repeated."""

    help = (
        "Takes one e-mail address out of events, replies, rejected events, kept reports, notes and logs of the admin. "
        "Counts stay. May be stopped and run again. Ends with 0 also where nothing was found."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whom, and whether for real."""
        parser.add_argument("address", help="the address to forget, such as someone@example.com")
        parser.add_argument("--dry-run", action="store_true", help="only count the rows that hold it")

    def handle(self, *args: Any, address: str, dry_run: bool, **options: Any) -> None:
        """Go through all tables."""
        address = address.strip().strip("<>")
        local, _, domain = address.rpartition("@")
        try:
            clean.domain(domain, "domain")
        except ParseError:
            domain = ""
        if not local or not domain or any(letter.isspace() for letter in local):
            raise CommandError("That is no e-mail address.")

        def say(table: str, rows: int) -> None:
            if rows:
                self.stdout.write(f"{table}: {rows}")

        total = forget(address, say=say, dry_run=dry_run)
        self.stdout.write(f"{total} rows {'hold it' if dry_run else 'held it and hold it no longer'}.")
        if User.objects.filter(email__iexact=address).exists():
            self.stdout.write("A user who logs in here has this address: change or delete that user in the admin.")

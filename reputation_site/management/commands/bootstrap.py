"""``manage.py bootstrap``: first admin, first source; or a new token for a source."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from reputation_site.first_start import ADMIN, FIRST_SOURCE, make_first_things
from telemetry.models import Source
from telemetry.tokens import issue_token


class Command(BaseCommand):
    """Make what an empty installation needs. `serve` does this by itself."""

    help = "Make the first admin and the first source, and show their secrets once. Does nothing the second time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add ``--new-token``."""
        parser.add_argument("--new-token", metavar="SOURCE", help="only make another token for this source and show it")

    def handle(self, *_: object, new_token: str | None = None, **__: object) -> None:
        """Make and show."""
        if new_token is not None:
            source = Source.objects.filter(name=new_token).first()
            if source is None:
                known = ", ".join(Source.objects.values_list("name", flat=True)[:20]) or "none yet"
                raise CommandError(f"There is no source named {new_token!r}. Sources: {known}.")
            self.stdout.write(issue_token(source, "made by bootstrap --new-token"))
            return
        made = make_first_things()
        if made.password:
            self.stdout.write(f"Admin {ADMIN}, password {made.password} (shown only now)")
        if made.token:
            self.stdout.write(f"Source {FIRST_SOURCE}, token {made.token} (shown only now)")
        if not made.password and not made.token:
            self.stdout.write("There are users and sources already; nothing was made.")

"""``manage.py create_source``: a source, and a token for it."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from telemetry.domain.vocab import SourceKind
from telemetry.models import Source
from telemetry.tokens import issue_token

KINDS = [kind.value for kind in SourceKind if kind is not SourceKind.SELF_TEST]


class Command(BaseCommand):
    """Safe to run at every deployment: what is there already stays as it is.

    A token goes to standard output alone, so that a script can take it; words go to standard error.
    """

    help = "Make the source NAME unless there is one. With --token, make a token too unless it has a usable one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the name, ``--kind`` and ``--token``."""
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--kind", choices=KINDS, required=True)
        parser.add_argument("--token", action="store_true", help="make a token and show it once")

    def handle(self, *_: object, name: str, kind: str, token: bool, **__: object) -> None:
        """Make what is missing and say what was done."""
        source = Source.objects.filter(name=name).first()
        if source is None:
            source = Source(name=name, kind=kind)
            try:
                source.full_clean()
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from None
            source.save()
            self.stderr.write(f"The source {name} ({kind}) was made.")
        elif source.kind != kind:
            raise CommandError(f"There is a source {name} already, of kind {source.kind} and not {kind}.")
        else:
            self.stderr.write(
                f"The source {name} ({kind}) was there already{'' if source.is_active else ', inactive'}."
            )
        if token:
            self._give_token(source)

    def _give_token(self, source: Source) -> None:
        usable = next((stored for stored in source.tokens.all() if stored.is_usable), None)
        if usable is not None:
            self.stderr.write(f"It has a usable token already ({usable}); rotate it in the admin or through the API.")
            return
        self.stdout.write(issue_token(source, "made by create_source"))
        self.stderr.write("This token is shown only now.")

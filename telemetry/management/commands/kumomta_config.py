"""``manage.py kumomta_config``: the Lua that makes a KumoMTA report here."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from telemetry.domain.vocab import SourceKind
from telemetry.kumomta import PATH, TOKEN_FILE, log_hook
from telemetry.models import Source
from telemetry.tokens import issue_token


class Command(BaseCommand):
    """The Lua alone goes to standard output, so that it can be written to a file; words go to standard error."""

    help = "Print the Lua that makes KumoMTA report to the source SOURCE (kind kumomta)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the source, ``--new-token`` and ``--url``."""
        parser.add_argument("source", metavar="SOURCE")
        parser.add_argument("--new-token", action="store_true", help="make a token for the source and show it once")
        parser.add_argument(
            "--url",
            default="http://127.0.0.1:8000",
            help="where KumoMTA reaches this installation, such as https://standing.example.com (%(default)s)",
        )

    def handle(self, *_: object, source: str, new_token: bool, url: str, **__: object) -> None:
        """Print."""
        found = Source.objects.filter(name=source).first()
        if found is None:
            raise CommandError(
                f"There is no source {source!r}. Make one: manage.py create_source {source} --kind kumomta --token"
            )
        if found.kind != SourceKind.KUMOMTA:
            raise CommandError(f"The source {source} is of kind {found.kind}, not kumomta.")
        try:
            lua = log_hook(url)
        except ValueError as error:
            raise CommandError(f"--url {error}") from None
        if not found.is_active:
            self.stderr.write(f"Note: the source {source} is not active, so KumoMTA is answered 403 until it is.")
        if found.hmac_key_sealed:
            self.stderr.write(
                "Note: this source asks for a signature, which a KumoMTA log hook does not make. Take its signature "
                "key away in the admin."
            )
        self.stdout.write(lua)
        self.stderr.write(f"Put this into KumoMTA's policy (init.lua), before its queue helper. It posts to {PATH}.")
        if new_token:
            token = issue_token(found, "KumoMTA log hook, made by kumomta_config")
            self.stderr.write(f"The token, shown only now, belongs into {TOKEN_FILE} on KumoMTA's machine:")
            self.stderr.write(f"  {token}")
        else:
            self.stderr.write(f"The source's token belongs into {TOKEN_FILE}; --new-token makes one.")

"""``manage.py stalwart_config``: what makes a Stalwart report here."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from telemetry import stalwart_setup
from telemetry.domain.vocab import SourceKind
from telemetry.models import Source
from telemetry.tokens import issue_token


class Command(BaseCommand):
    """The configuration alone goes to standard output, so that it can be written to a file; words to standard error."""

    help = "Print the configuration that makes Stalwart report to the source SOURCE (kind stalwart)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the source, ``--new-token``, ``--url`` and ``--format``."""
        parser.add_argument("source", metavar="SOURCE")
        parser.add_argument("--new-token", action="store_true", help="make a token for the source and show it once")
        parser.add_argument(
            "--url",
            default="http://127.0.0.1:8000",
            help="where Stalwart reaches this installation, such as https://standing.example.com (%(default)s)",
        )
        parser.add_argument(
            "--format",
            choices=("both", "toml", "jmap"),
            default="both",
            help="toml: up to v0.15; jmap: the request for v0.16 (%(default)s)",
        )
        parser.add_argument(
            "--hook",
            choices=("data", "rcpt"),
            help="print the MTA hook instead, which asks before mail is taken: for the message (data) or each "
            "recipient (rcpt). One of the two, never both",
        )

    def handle(
        self,
        *_: object,
        source: str,
        new_token: bool,
        url: str,
        format: str,  # noqa: A002 - the option's name
        hook: str | None = None,
        **__: object,
    ) -> None:
        """Print."""
        found = Source.objects.filter(name=source).first()
        if found is None:
            raise CommandError(
                f"There is no source {source!r}. Make one: manage.py create_source {source} --kind stalwart --token"
            )
        if found.kind != SourceKind.STALWART:
            raise CommandError(f"The source {source} is of kind {found.kind}, not stalwart.")
        try:
            address = stalwart_setup.webhook_url(url)
        except ValueError as error:
            raise CommandError(f"--url {error}") from None
        what = "MTA hook" if hook else "webhook"
        token = issue_token(found, f"Stalwart {what}, made by stalwart_config") if new_token else stalwart_setup.TOKEN
        signed = bool(found.hmac_key_sealed) and not hook
        if hook:
            address = stalwart_setup.hook_url(url, hook)
            toml = stalwart_setup.hook_toml(address, token=token, stage=hook)
            jmap = stalwart_setup.hook_jmap(address, token=token, stage=hook)
        else:
            toml = stalwart_setup.toml(address, token=token, signed=signed)
            jmap = stalwart_setup.jmap(address, token=token, signed=signed)
        if format in ("both", "toml"):
            if format == "both":
                self.stdout.write("# Stalwart up to v0.15: into the configuration file, then reload.")
            self.stdout.write(toml)
        if format in ("both", "jmap"):
            if format == "both":
                where = "MTA › Filters › MTA Hooks" if hook else "Telemetry › Webhooks"
                self.stdout.write("# Stalwart v0.16: POST this to /api of the mail server as an administrator,")
                self.stdout.write(f"# or fill in the same under Settings › {where}.")
            self.stdout.write(jmap)
        self._notes(found, new_token=new_token, signed=signed, hook=hook)

    def _notes(self, source: Source, *, new_token: bool, signed: bool, hook: str | None) -> None:
        if not source.is_active:
            self.stderr.write(f"Note: the source {source} is not active, so Stalwart is answered 403 until it is.")
        if new_token:
            self.stderr.write("The token above is shown only now.")
        else:
            self.stderr.write(f"Put the source's token in the place of {stalwart_setup.TOKEN}; --new-token makes one.")
        if hook:
            self.stderr.write(
                "Nothing is held back until a pool's sending policy says enforce. Should nobody answer here, mail "
                "passes; tempfail-on-error (tempFailOnError) makes it wait instead."
            )
            return
        if signed:
            self.stderr.write(
                f"This source asks for signed bodies: put the same key as here in the place of {stalwart_setup.KEY}."
            )
        else:
            self.stderr.write(
                "To have bodies signed as well, set a signature key at the source (admin) and run this again."
            )
        self.stderr.write("To have Stalwart ask before it takes mail, which is off unless you want it: --hook data.")
        if not source.ip_map:
            self.stderr.write(
                "If Stalwart has no source IPs configured it reports 0.0.0.0: then give the source an IP mapping from "
                'queue name, node or "*" to the sending IP.'
            )

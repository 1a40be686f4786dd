"""``manage.py import_powermta``: PowerMTA's accounting files become events."""

from __future__ import annotations

import time
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.management.base import BaseCommand, CommandError, DjangoHelpFormatter

from telemetry.accounting_files import AccountingFiles
from telemetry.domain.vocab import SourceKind
from telemetry.following import CannotFollowError, Stop, follow
from telemetry.models import Source
from telemetry.parsers.powermta import Columns
from telemetry.powermta import Database, Imported, import_file

SAY_EVERY = 2.0  # seconds
EPILOG = """\
Columns are found by the names in the file's header. Rows that cannot be taken are kept as rejected, with the field that
is wrong, and can be mended and replayed in the admin. A second import, or importing what was followed, changes nothing.

examples:
  import_powermta /var/log/pmta/acct-2026-11-*.csv --source pmta-1
  import_powermta --follow '/var/log/pmta/acct-*.csv' --source pmta-1
"""


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 20_000:
        raise ArgumentTypeError("is a number of rows, 1 to 20000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ArgumentTypeError("is a number of seconds") from None
    if not 0.01 <= seconds <= 3600:
        raise ArgumentTypeError("is a number of seconds, 0.01 to 3600")
    return seconds


def _zone(text: str) -> str:
    try:
        return ZoneInfo(text).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ArgumentTypeError(f"{text!r} is no time zone that this machine knows, such as Europe/Berlin") from None


class _Help(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Our options before Django's, and the epilog's lines as they stand."""


class Command(BaseCommand):
    """Import files, or follow a pattern of them."""

    help = "Record what PowerMTA's accounting files (CSV) say of each delivery, or follow them while they grow."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Keep the examples' lines as they are."""
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, formatter_class=_Help, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "files", metavar="FILE", nargs="+", help="a file (.gz too); with --follow one quoted pattern"
        )
        parser.add_argument("--source", metavar="NAME", required=True, help="the source (kind powermta)")
        parser.add_argument(
            "--timezone", metavar="ZONE", type=_zone, help="of times written without one (default: UTC)"
        )
        parser.add_argument("--batch", metavar="N", type=_count, default=2000, help="rows in one transaction (2000)")
        parser.add_argument("--follow", action="store_true", help="go on where the last run stopped, and wait for more")
        parser.add_argument("--once", action="store_true", help="with --follow: end when everything has been read")
        parser.add_argument("--from-end", action="store_true", help="with --follow, at the first time: only what comes")
        parser.add_argument("--interval", metavar="S", type=_seconds, default=1.0, help="seconds between looks (1)")

    def handle(self, *_: object, **options: Any) -> None:
        """Import or follow."""
        source = _source(options["source"])
        try:
            if options["follow"]:
                self._follow(source, options)
            else:
                self._import(source, options)
        except CannotFollowError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{error.filename or 'the file'}: {error.strerror or error}") from None

    def _follow(self, source: Source, options: dict[str, Any]) -> None:
        if len(options["files"]) > 1:
            raise CommandError(
                "Quote the pattern, so that the shell leaves it alone: --follow '/var/log/pmta/acct*.csv'"
            )
        pattern = str(Path(options["files"][0]).absolute())
        columns = Columns(options["timezone"] or "")
        database = Database(source, pattern, columns)
        with Stop() as stop, AccountingFiles(pattern, columns, database.begin(), at_end=options["from_end"]) as files:
            follow(files, database, stop, batch=options["batch"], interval=options["interval"], once=options["once"])
        self._warn_of_zones(columns)

    def _import(self, source: Source, options: dict[str, Any]) -> None:
        rejected = 0
        for name in options["files"]:
            columns = Columns(options["timezone"] or "")
            said = [time.monotonic()]

            def progress(done: Imported, name: str = name, said: list[float] = said) -> None:
                if time.monotonic() - said[0] >= SAY_EVERY:
                    said[0] = time.monotonic()
                    self.stderr.write(f"{name}: {done.share:4.0%}, {done.rows:,} rows")

            done = import_file(source, Path(name), columns, batch=options["batch"], progress=progress)
            rejected += done.rejected
            self.stdout.write(
                f"{name}: {done.rows:,} rows: {done.new:,} events new, {done.known:,} known already, "
                f"{done.ignored:,} ignored, {done.rejected:,} rejected"
            )
            for entry in done.told:
                self.stderr.write(f"  row {entry.index}: {entry.field} {entry.message}")
            self._warn_of_zones(columns)
        if rejected:
            self.stderr.write(f"The {rejected:,} rejected rows are kept: mend and replay them in the admin.")

    def _warn_of_zones(self, columns: Columns) -> None:
        if columns.without_zone:
            self.stderr.write(
                f"{columns.without_zone:,} times carry no time zone and were taken for UTC; say --timezone if they are "
                "not."
            )


def _source(name: str) -> Source:
    source = Source.objects.filter(name=name).first()
    if source is None:
        raise CommandError(f"There is no source {name!r}. Make one: manage.py create_source {name} --kind powermta")
    if source.kind != SourceKind.POWERMTA:
        raise CommandError(f"The source {name} is of kind {source.kind}, not powermta.")
    if not source.is_active:
        raise CommandError(f"The source {name} is not active. Activate it in the admin.")
    return source

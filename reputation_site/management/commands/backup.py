"""``manage.py backup FILE``: everything that cannot be made again, in one file."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from reputation_site.backups import BackupError, back_up


class Command(BaseCommand):
    """May run beside everything else; what arrives meanwhile is in the next one."""

    help = (
        "Writes the database as of this moment and the secret key into one file that only its owner may read. Keep it "
        "as safe as the data folder: it holds recipients' addresses and opens what is sealed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where to."""
        parser.add_argument("file", type=Path, help="the file to write, such as good-standing.backup")
        parser.add_argument("--replace", action="store_true", help="write over a file that is there already")

    def handle(self, *args: Any, file: Path, replace: bool, **options: Any) -> None:
        """Write it."""
        try:
            size = back_up(file, now=timezone.now(), replace=replace)
        except BackupError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{file}: {size / 1_000_000:.1f} MB. To put it back: manage.py restore {file}")

"""``manage.py restore FILE``: put a backup in the place of the configured database."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from reputation_site.backups import BackupError, restore


class Command(BaseCommand):
    """The counterpart of ``backup``; stop everything that uses the database first."""

    help = (
        "Puts a backup where DATABASE_URL and GS_DATA_DIR point, secret key included, and brings the database up to "
        "date. Without --replace only where there is no table yet. Stop web, worker, beat and policyd first."
    )
    # The configured database may be empty or of another version.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """From where."""
        parser.add_argument("file", type=Path, help="a file that `manage.py backup` wrote")
        parser.add_argument("--replace", action="store_true", help="lose what the database holds now")

    def handle(self, *args: Any, file: Path, replace: bool, **options: Any) -> None:
        """Put it back."""
        try:
            about = restore(file, replace=replace)
        except BackupError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Restored what was backed up at {about['made_at']}. Start everything again.")

"""``manage.py reference``: write the parts of the documentation that come from the code."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from reputation_site.reference import UndescribedError, documents
from reputation_site.settings import env


class Command(BaseCommand):
    """Write, or with ``--check`` only say what is out of date."""

    help = "Writes docs/settings.md, docs/openapi.yaml and the tables of docs/standing.md from the code (make docs)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add ``--check``."""
        parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where something is stale")

    def handle(self, *_: object, check: bool, **__: Any) -> None:
        """Write what differs."""
        try:
            wanted = documents(settings.BASE_DIR, env.described)
        except UndescribedError as error:
            raise CommandError(str(error)) from None
        stale = {
            path: text for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text
        }
        names = ", ".join(str(path.relative_to(settings.BASE_DIR)) for path in stale)
        if check and stale:
            raise CommandError(f"Out of date: {names}. Run make docs.")
        for path, text in stale.items():
            path.write_text(text, encoding="utf-8")
        self.stdout.write(f"Written: {names}." if stale else "Everything is up to date.")

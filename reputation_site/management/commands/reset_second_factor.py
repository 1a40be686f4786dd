"""``manage.py reset_second_factor``: for who lost the phone and the recovery codes."""

from __future__ import annotations

from argparse import ArgumentParser

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from reputation_site.doors import second_factor
from reputation_site.doors.records import note
from telemetry.domain.access import AccessKind


class Command(BaseCommand):
    """Who can run it can read the database anyway."""

    help = "Remove a person's second factor and recovery codes, so that the password alone logs in."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the name."""
        parser.add_argument("name", metavar="NAME")

    def handle(self, *_: object, name: str, **__: object) -> None:
        """Remove and say so."""
        user = get_user_model()._default_manager.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no user {name!r}.")
        if not second_factor.remove(user):
            raise CommandError(f"{name} has no second factor.")
        note(AccessKind.SECOND_FACTOR_REMOVED, user, None, "manage.py reset_second_factor")
        self.stdout.write(f"{name} logs in with the password alone now.")

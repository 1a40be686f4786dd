"""``manage.py api_token``: a token that acts as a user in the API."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from telemetry.tokens import issue_api_token

LONGEST_DAYS = 3650


class Command(BaseCommand):
    """The token alone goes to standard output, so that a script can take it; words go to standard error."""

    help = "Make an API token that acts as USER, with that user's permissions. It is shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the user, ``--label`` and ``--expires-days``."""
        parser.add_argument("user", metavar="USER")
        parser.add_argument("--label", default="", help="where it is used, for whoever must rotate it")
        parser.add_argument("--expires-days", type=int, metavar="DAYS", help="without it the token does not expire")

    def handle(self, *_: object, user: str, label: str, expires_days: int | None, **__: object) -> None:
        """Make and show."""
        owner = get_user_model()._default_manager.filter(username=user).first()
        if owner is None:
            raise CommandError(f"There is no user {user!r}. Make one: manage.py createsuperuser --username {user}")
        if len(label) > 100:
            raise CommandError("The label is longer than 100 characters.")
        if expires_days is not None and not 1 <= expires_days <= LONGEST_DAYS:
            raise CommandError(f"--expires-days must lie between 1 and {LONGEST_DAYS}.")
        if not owner.is_active or not owner.is_staff:
            self.stderr.write(f"Note: {user} is not active staff, so the API answers 403 to this token until it is.")
        expires_at = timezone.now() + timedelta(days=expires_days) if expires_days else None
        self.stdout.write(issue_api_token(owner, label, expires_at=expires_at))
        until = f"It expires on {expires_at:%Y-%m-%d}." if expires_at else "It does not expire."
        self.stderr.write(f"This token of {user} is shown only now. {until}")

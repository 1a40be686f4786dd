"""``manage.py make_user``: an account for a person, in one of the three groups."""

from __future__ import annotations

import secrets
from argparse import ArgumentParser

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from reputation_site.groups import ROLES, VIEWER


class Command(BaseCommand):
    """The password alone goes to standard output, so that a script can take it; words go to standard error."""

    help = "Make a user who may log in, in a group, and print a password. It is shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the name, ``--group`` and ``--email``."""
        parser.add_argument("name", metavar="NAME")
        parser.add_argument(
            "--group",
            choices=ROLES,
            default=VIEWER,
            help="viewer sees everything, operator acts on senders too, admin changes policies, sources and users too",
        )
        parser.add_argument("--email", default="")

    def handle(self, *_: object, name: str, group: str, email: str, **__: object) -> None:
        """Make and show."""
        users = get_user_model()
        password = secrets.token_urlsafe(18)
        user = users(username=name, email=email, is_staff=True)
        user.set_password(password)
        try:
            user.full_clean()
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        found = Group.objects.filter(name=group).first()
        if found is None:
            raise CommandError(f"There is no group {group!r}. Make it anew: manage.py migrate")
        with transaction.atomic():
            user.save()
            user.groups.add(found)
        self.stdout.write(password)
        self.stderr.write(f"The password of {name} ({group}) is shown only now; change it under “Change password”.")

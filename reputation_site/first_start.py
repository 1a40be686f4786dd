"""What an empty installation needs once: an admin who can log in and a source that can report."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.db import transaction

from telemetry.domain.vocab import SourceKind
from telemetry.models import Source
from telemetry.tokens import issue_token

ADMIN = "admin"
FIRST_SOURCE = "first-source"


@dataclass(frozen=True)
class FirstStart:
    """The secrets that were made just now, in clear; None for what was there already."""

    password: str | None
    token: str | None


def make_first_things() -> FirstStart:
    """Make the first admin where there is no user, and the first source with a token where there is no source.

    Safe to call at every start and by two processes at once: only who made a thing gets its secret.
    """
    password = token = None
    users = get_user_model()._default_manager
    if not users.exists():
        with transaction.atomic():
            admin, made = users.get_or_create(username=ADMIN, defaults={"is_staff": True, "is_superuser": True})
            if made:
                password = secrets.token_urlsafe(18)
                admin.set_password(password)
                admin.save()
    if not Source.objects.exists():
        with transaction.atomic():
            source, made = Source.objects.get_or_create(name=FIRST_SOURCE, defaults={"kind": SourceKind.DOCUMENTED})
            if made:
                token = issue_token(source, "made at the first start")
    return FirstStart(password, token)

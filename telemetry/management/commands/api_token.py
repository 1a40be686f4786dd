"""``manage.py api_token``: tokens that act as a user in the API."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from telemetry.domain.scopes import Scope
from telemetry.models import ApiToken
from telemetry.tokens import issue_api_token, revoke_token, rotate_token

LONGEST_DAYS = 3650


class Command(BaseCommand):
    """A token alone goes to standard output, so that a script can take it; words go to standard error."""

    help = (
        "Make an API token that acts as USER, as far as its scope goes. It is shown once. With --list, --rotate or "
        "--revoke: look after the tokens that USER has."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the user, what a new token is given, and what may be done with those that are there."""
        parser.add_argument("user", metavar="USER")
        parser.add_argument(
            "--scope",
            choices=[scope.value for scope in Scope],
            help="read: looks; operate: acts on senders as the group operator does; admin: whatever USER may (default)",
        )
        parser.add_argument("--label", default="", help="where it is used, for whoever must rotate it")
        parser.add_argument("--expires-days", type=int, metavar="DAYS", help="without it the token does not expire")
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument(
            "--list", dest="show", action="store_true", help="list USER's tokens, without their secrets"
        )
        instead.add_argument("--rotate", metavar="PREFIX", help="make a successor; the old one goes on for 24 hours")
        instead.add_argument("--revoke", metavar="PREFIX", help="end a token at once")

    def handle(
        self,
        *_: object,
        user: str,
        scope: str | None,
        label: str,
        expires_days: int | None,
        show: bool,
        rotate: str | None,
        revoke: str | None,
        **__: object,
    ) -> None:
        """Do what was asked for."""
        owner = User.objects.filter(username=user).first()
        if owner is None:
            raise CommandError(f"There is no user {user!r}. Make one: manage.py createsuperuser --username {user}")
        if (show or rotate or revoke) and (scope or label or expires_days is not None):
            raise CommandError("--scope, --label and --expires-days are for a new token.")
        if show:
            self._list(owner)
        elif rotate:
            self._rotate(_token(owner, rotate))
        elif revoke:
            token = _token(owner, revoke)
            revoke_token(token, now=timezone.now())
            self.stderr.write(f"{token} was revoked: whoever uses it is answered 401 from now on.")
        else:
            self._make(owner, Scope(scope) if scope else Scope.ADMIN, label, expires_days)

    def _make(self, owner: User, scope: Scope, label: str, expires_days: int | None) -> None:
        if len(label) > 100:
            raise CommandError("The label is longer than 100 characters.")
        if expires_days is not None and not 1 <= expires_days <= LONGEST_DAYS:
            raise CommandError(f"--expires-days must lie between 1 and {LONGEST_DAYS}.")
        if not owner.is_active or not owner.is_staff:
            self.stderr.write(f"Note: {owner} is not active staff, so the API answers 403 to this token until it is.")
        expires_at = timezone.now() + timedelta(days=expires_days) if expires_days else None
        self.stdout.write(issue_api_token(owner, label, scope=scope, expires_at=expires_at))
        until = f"It expires on {expires_at:%Y-%m-%d}." if expires_at else "It does not expire."
        far = {
            Scope.READ: "It only reads.",
            Scope.OPERATE: f"It acts on senders, as far as {owner} may.",
            Scope.ADMIN: f"It may whatever {owner} may; --scope read makes one that only reads.",
        }[scope]
        self.stderr.write(f"This token of {owner} is shown only now. {far} {until}")

    def _list(self, owner: User) -> None:
        tokens = ApiToken.objects.filter(user=owner).order_by("created_at")
        for token in tokens:
            state = "usable" if token.is_usable else "revoked" if token.revoked_at else "expired"
            used = f"last used {token.last_used_at:%Y-%m-%d %H:%M} UTC" if token.last_used_at else "never used"
            made = f"made {token.created_at:%Y-%m-%d}"
            self.stdout.write(
                "  ".join(part for part in (token.prefix, token.scope, state, made, used, token.label) if part)
            )
        if not tokens:
            self.stderr.write(f"{owner} has no API token.")

    def _rotate(self, token: ApiToken) -> None:
        if not token.is_usable:
            raise CommandError(f"{token} has ended already; make a new token instead.")
        self.stdout.write(rotate_token(token, now=timezone.now()))
        token.refresh_from_db()
        self.stderr.write(
            f"The successor is shown only now. {token} goes on until {token.expires_at:%Y-%m-%d %H:%M} UTC."
        )


def _token(owner: User, given: str) -> ApiToken:
    prefix = given.removeprefix("gs_").split("_")[0]
    token = ApiToken.objects.filter(user=owner, prefix=prefix).first()
    if token is None:
        raise CommandError(f"{owner} has no API token {given[:20]!r}; --list shows those there are.")
    return token

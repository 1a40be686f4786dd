"""Who came in, by what, and who was kept out."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from telemetry.domain.access import AccessKind


def kinds() -> list[tuple[str, str]]:
    """The kinds as form choices; a function, so that a new kind needs no migration."""
    return [(kind.value, kind.words) for kind in AccessKind]


class AccessRecord(models.Model):
    """One thing that happened at a door. Names are text: they stay when the row they name goes.

    Never a password, a token's secret or a recipient.
    """

    at = models.DateTimeField(default=timezone.now, db_index=True)
    kind = models.CharField(max_length=30, choices=kinds)
    who = models.CharField(max_length=150, blank=True, help_text="A user's or a source's name.")
    token = models.CharField(max_length=16, blank=True, help_text="The prefix of the token, where one was used.")
    address = models.GenericIPAddressField(null=True, blank=True, help_text="Empty: a command on the machine itself.")
    detail = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = "access record"
        verbose_name_plural = "access log"
        # For "was this written of this token and address today?", asked on the way in.
        indexes = [models.Index(fields=["token", "kind", "at"], name="access_by_token")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.who}".strip()

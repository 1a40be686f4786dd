"""The floor "what happened"."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_delete, post_migrate, post_save


class TelemetryConfig(AppConfig):
    """Sources, events, counters, retention. Knows nothing of reputation."""

    name = "telemetry"
    verbose_name = "Telemetry"

    def ready(self) -> None:
        """Keep the tables that come filled complete, and believed anew after an edit."""
        from telemetry import (
            checks,  # noqa: F401 - registers them
            metrics,
        )

        metrics.register()

        post_migrate.connect(_ensure_policies, sender=self)
        post_save.connect(_policy_saved, sender=self.get_model("RetentionPolicy"))
        for signal in (post_save, post_delete):
            for model in ("CauseRule", "MailboxProvider"):
                signal.connect(_causes_changed, sender=self.get_model(model))


def _ensure_policies(**_: Any) -> None:
    from django.utils import timezone

    from telemetry import partitions
    from telemetry.causes import ensure_rules
    from telemetry.mailbox_providers import ensure_providers
    from telemetry.retention import ensure_policies

    ensure_policies()
    ensure_providers()
    ensure_rules()
    partitions.create_ahead(now=timezone.now())


def _policy_saved(**_: Any) -> None:
    from telemetry.retention import forget_cached

    forget_cached()


def _causes_changed(**_: Any) -> None:
    from telemetry import causes, mailbox_providers

    mailbox_providers.forget_cached()
    causes.note_change()

"""The floor "what happened"."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate, post_save


class TelemetryConfig(AppConfig):
    """Sources, events, counters, retention. Knows nothing of reputation."""

    name = "telemetry"
    verbose_name = "Telemetry"

    def ready(self) -> None:
        """Keep the policy table complete and believed anew after an edit."""
        post_migrate.connect(_ensure_policies, sender=self)
        post_save.connect(_policy_saved, sender=self.get_model("RetentionPolicy"))


def _ensure_policies(**_: Any) -> None:
    from telemetry.retention import ensure_policies

    ensure_policies()


def _policy_saved(**_: Any) -> None:
    from telemetry.retention import forget_cached

    forget_cached()

"""The floor "what it means and what to do"."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ReputationConfig(AppConfig):
    """Standing of sending IPs and domains, policies, overrides, the audit log."""

    name = "reputation"
    verbose_name = "Reputation"

    def ready(self) -> None:
        """Keep the default policy and the tiers present, and offer the gauges."""
        post_migrate.connect(_ensure_defaults, sender=self)
        from reputation import metrics

        metrics.register()


def _ensure_defaults(**_: Any) -> None:
    from reputation.policies import ensure_defaults

    ensure_defaults()

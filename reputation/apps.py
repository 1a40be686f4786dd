"""The floor "what it means and what to do"."""

from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed
from django.db.models.signals import post_migrate


class ReputationConfig(AppConfig):
    """Standing of sending IPs and domains, policies, overrides, the audit log."""

    name = "reputation"
    verbose_name = "Reputation"

    def ready(self) -> None:
        """Keep the default policy and the tiers present, and offer the gauges."""
        post_migrate.connect(_ensure_defaults, sender=self)
        from reputation import (
            alert_metrics,
            audit_metrics,
            blocklist_metrics,
            breaker_metrics,
            checks,  # noqa: F401 - registers them
            metrics,
            warmup_metrics,
        )

        metrics.register()
        audit_metrics.register()
        breaker_metrics.register()
        warmup_metrics.register()
        blocklist_metrics.register()
        alert_metrics.register()


def _ensure_defaults(apps: Any = installed, **_: Any) -> None:
    from reputation import alert_rules, blocklist_book, breaker_policies, policies, sending_policies, warmup_policies

    policies.ensure_defaults()
    # A migration backwards ends with this signal too, and then the table is gone.
    if "breakerpolicy" in apps.all_models["reputation"]:
        breaker_policies.ensure_defaults()
    if "sendingpolicy" in apps.all_models["reputation"]:
        sending_policies.ensure_defaults()
    if "warmuppolicy" in apps.all_models["reputation"]:
        warmup_policies.ensure_defaults()
    if "blocklist" in apps.all_models["reputation"]:
        blocklist_book.ensure_blocklists()
    if "alertrule" in apps.all_models["reputation"]:
        alert_rules.ensure_defaults()

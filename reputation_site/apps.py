"""The composition root as an app, so that its management commands (serve, demo, bootstrap) are found."""

import multiprocessing
import sys
from signal import SIGKILL

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate, pre_migrate

from reputation_site.leash import die_with_parent


class ReputationSiteConfig(AppConfig):
    """Holds no models; carries the commands that start the house and the checks of how it is set up."""

    name = "reputation_site"
    verbose_name = "Good Standing"

    def ready(self) -> None:
        """Register checks and groups; bind a web server's inner process to the one that watches over it."""
        from reputation_site import checks, groups, web_metrics  # noqa: F401
        from reputation_site.doors import records, sessions  # noqa: F401

        for name in ("axes", "otp_totp"):  # what stands above their lists in the admin
            apps.get_app_config(name).verbose_name = "Doors"
        web_metrics.register()

        # The last app that has models (one without is sent no signal): by then every permission is there.
        last = apps.get_app_config("reputation")
        pre_migrate.connect(groups.note_permissions, sender=last)
        post_migrate.connect(groups.ensure_groups, sender=last)

        # Without it, when the outer process is killed (-9), the inner one would serve on for ever beside its successor,
        # unseen, and keep the old code. What it had not committed was not acknowledged.
        if "granian" in sys.modules and multiprocessing.parent_process() is not None:
            die_with_parent(SIGKILL)

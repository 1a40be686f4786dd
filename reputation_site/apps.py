"""The composition root as an app, so that its management commands (serve, demo, bootstrap) are found."""

import multiprocessing
import sys
from signal import SIGKILL

from django.apps import AppConfig

from reputation_site.leash import die_with_parent


class ReputationSiteConfig(AppConfig):
    """Holds no models; carries the commands that start the house and the checks of how it is set up."""

    name = "reputation_site"
    verbose_name = "Good Standing"

    def ready(self) -> None:
        """Register the system checks; bind a web server's inner process to the one that watches over it."""
        from reputation_site import checks  # noqa: F401

        # Without it, when the outer process is killed (-9), the inner one would serve on for ever beside its successor,
        # unseen, and keep the old code. What it had not committed was not acknowledged.
        if "granian" in sys.modules and multiprocessing.parent_process() is not None:
            die_with_parent(SIGKILL)

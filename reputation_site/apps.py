"""The composition root as an app, so that its management commands (serve, demo, bootstrap) are found."""

from django.apps import AppConfig


class ReputationSiteConfig(AppConfig):
    """Holds no models; carries the commands that start the house and the checks of how it is set up."""

    name = "reputation_site"
    verbose_name = "Good Standing"

    def ready(self) -> None:
        """Register the system checks."""
        from reputation_site import checks  # noqa: F401

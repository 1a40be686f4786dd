"""The composition root as an app, so that its management commands (serve, demo, bootstrap) are found."""

from django.apps import AppConfig


class ReputationSiteConfig(AppConfig):
    """Holds no models; carries the commands that start the house."""

    name = "reputation_site"
    verbose_name = "Good Standing"

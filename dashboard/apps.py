"""The floor "what people see"."""

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """Pages for people; reads the floors below and writes only through their services."""

    name = "dashboard"
    verbose_name = "Dashboard"

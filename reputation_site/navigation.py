"""The side bar of every page: the console's pages first, then what the admin has."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from reputation.admin.navigation import sidebar

# Title, symbol (Material Symbols), name of the URL.
_PAGES = (
    ("Overview", "monitoring", "dashboard:overview"),
    ("Alerts", "notifications", "dashboard:alerts"),
    ("By mailbox provider", "grid_view", "dashboard:providers"),
    ("Breakers", "electrical_services", "dashboard:breakers"),
    ("Warming up", "device_thermostat", "dashboard:warmups"),
    ("Blocklists", "playlist_remove", "dashboard:blocklists"),
    ("Set-up of sources", "cable", "dashboard:sources"),
    ("Second factor", "phonelink_lock", "doors:second-factor"),
)
# For superusers, because running them burdens the installation.
_SCENARIOS = ("Scenarios", "science", "dashboard:scenarios")


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Groups with their items, as unfold draws them; the console's pages are for all staff."""
    shown = [*_PAGES, _SCENARIOS] if getattr(request.user, "is_superuser", False) else _PAGES
    pages = [
        {"title": title, "icon": symbol, "link": reverse(name), "active": request.path == reverse(name)}
        for title, symbol, name in shown
    ]
    return [{"title": "Console", "separator": False, "collapsible": False, "items": pages}, *sidebar(request)]

"""How numbers, times and links read on every page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from django import template
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from dashboard.sender_filters import SenderFilters
from dashboard.words import action_word
from reputation.domain.policy import percent

register = template.Library()
THIN = "\u202f"  # narrow no-break space: "12 345" stays on one line


@register.filter
def number(value: float | None) -> str:
    """A count with thin spaces between thousands; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,}".replace(",", THIN) if isinstance(value, int) else f"{value:,g}".replace(",", THIN)


@register.filter
def share(value: float | str | None) -> str:
    """A ratio (0 to 1) in percent; a dash where there is none (a template hands on "" for what does not exist)."""
    return "–" if value is None or value == "" else percent(Fraction(value)).replace(" ", THIN)


@register.simple_tag
def moment(at: datetime | None, now: datetime | None = None) -> str | SafeString:
    """A time element in UTC: the time alone on the day of `now`, else with its date; a dash for no time."""
    if at is None:
        return "–"
    at = at.astimezone(UTC)
    shown = "%H:%M" if now is not None and now.astimezone(UTC).date() == at.date() else "%-d %b %H:%M"
    if now is None or now.year != at.year:
        shown = "%-d %b %Y %H:%M"
    return format_html(
        '<time datetime="{}" title="{}">{} UTC</time>',
        at.isoformat(timespec="seconds"),
        f"{at:%Y-%m-%d %H:%M:%S} UTC",
        at.strftime(shown),
    )


@register.simple_tag
def ago(at: datetime, now: datetime) -> str:
    """How long ago in one unit: "12 min", "3 h", "5 d"."""
    gone = max(timedelta(0), now - at)
    for length, unit in ((timedelta(days=2), "d"), (timedelta(hours=2), "h"), (timedelta(minutes=2), "min")):
        if gone >= length:
            return f"{gone // (length / 2)}{THIN}{unit}"
    return f"{int(gone.total_seconds())}{THIN}s"


@register.simple_tag
def admin_link(name: str, *args: Any, **query: Any) -> str:
    """The address of an admin page with a query string; empty where the admin has no such page."""
    try:
        path = reverse(f"admin:{name}", args=args)
    except NoReverseMatch:
        return ""
    return f"{path}?{urlencode(query)}" if query else path


@register.simple_tag
def filter_query(filters: SenderFilters, **changes: str) -> str:
    """The query string that keeps a page's filters, with some of them changed."""
    return filters.address(**changes)


@register.filter
def action_words(action: str) -> str:
    """What the automation did, for people."""
    return action_word(action).lower()

"""How an operation of the API is taken away: first it says so for a while, in its answers and in the document."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import wraps
from typing import Any

from django.utils.http import http_date
from drf_spectacular.utils import extend_schema

# An operation goes on for at least this long after it was first said to be deprecated.
AT_LEAST = timedelta(days=180)


def deprecated(since: date, *, until: date, instead: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a view's handler; stands above `documented`.

    Its answers carry ``Deprecation`` (RFC 9745) and ``Sunset`` (RFC 8594), and a ``Link`` to what stands in its place;
    the OpenAPI document shows it as deprecated. Raises ValueError for a time shorter than what is promised.
    """
    if until - since < AT_LEAST:
        raise ValueError(f"An operation goes on for {AT_LEAST.days} days after it was deprecated; {until} is too soon.")
    headers = {"Deprecation": f"@{_midnight(since)}", "Sunset": http_date(_midnight(until))}
    if instead:
        headers["Link"] = f'<{instead}>; rel="successor-version"'

    def mark(handler: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(handler)
        def handle(view: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            # Django REST framework adds the view's headers to whatever is answered, an error too.
            view.headers |= headers
            return handler(view, request, *args, **kwargs)

        shown: Callable[..., Any] = extend_schema(deprecated=True)(handle)
        return shown

    return mark


def _midnight(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())

"""The colours of the admin's frame as a style sheet of its own, so that no page needs an inline style element."""

from __future__ import annotations

from functools import cache

from django.http import HttpRequest, HttpResponse
from unfold.settings import CONFIG_DEFAULTS
from unfold.utils import convert_color


@cache
def colours_css() -> str:
    """The frame's own colours as custom properties."""
    lines = [
        f"--color-{name}-{weight}: {convert_color(value)};"
        for name, weights in CONFIG_DEFAULTS["COLORS"].items()
        for weight, value in weights.items()
    ]
    return ":root {\n" + "\n".join(lines) + "\n}\n"


def colours(request: HttpRequest) -> HttpResponse:
    """The style sheet; it changes with an upgrade alone."""
    return HttpResponse(colours_css(), content_type="text/css", headers={"Cache-Control": "public, max-age=3600"})

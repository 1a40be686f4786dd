"""What the bridge hands on of a body that is larger than any may be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from reputation_site.bridge import Bridge


def _length(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [str(len(environ["wsgi.input"].read())).encode()]


def _seen(path: str, *, declared: bool) -> tuple[int, bool]:
    """How many bytes of a body of 300 the application sees at this path, and whether all were taken off the line."""
    parts = [{"type": "http.request", "body": b"x" * 100, "more_body": number < 2} for number in range(3)]
    said: list[Any] = []

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: Any) -> None:
        said.append(message)

    scope = {
        "method": "POST",
        "path": path,
        "query_string": b"",
        "http_version": "1.1",
        "headers": [(b"content-length", b"300")] if declared else [],
    }
    bridge = Bridge(_length, threads=1, most_waiting=1, most_bytes=150, cut={"/cut"})
    asyncio.run(bridge(scope, receive, send))
    return int(b"".join(message.get("body", b"") for message in said)), not parts


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("path", "declared", "seen"),
    [
        ("/other", True, (0, False)),  # refused by what it declares, unread
        ("/other", False, (151, True)),
        ("/cut", True, (151, True)),
        ("/cut", False, (151, True)),
    ],
)
def test_only_where_it_is_wanted_the_beginning_of_a_large_body_is_read(
    path: str, declared: bool, seen: tuple[int, bool]
) -> None:
    assert _seen(path, declared=declared) == seen

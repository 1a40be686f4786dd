"""What Apprise's plugins use in place of `requests`: the same calls, made through the guarded outbound client.

So no alert reaches a private address by a name, a second answer of the name server, or a redirect, and none waits for
ever. A plugin finds this module under the name `requests` in its own module; nobody else does.
"""

from __future__ import annotations

import contextvars
from datetime import timedelta
from typing import Any, Final

import requests as real
from requests.structures import CaseInsensitiveDict

from telemetry.outbound import OutboundError, send

TIMEOUT: Final = timedelta(seconds=10)
MOST_BYTES: Final = 256 * 1024

# How the last call ended, for whoever made the plugin call: a word, empty when it went well.
last_trouble: contextvars.ContextVar[str] = contextvars.ContextVar("last_trouble", default="")

codes = real.codes
exceptions = real.exceptions
RequestException = real.RequestException
ConnectionError = real.ConnectionError  # noqa: A001 - the name that plugins know
Timeout = real.Timeout
Response = real.Response


def request(method: str, url: str, **options: Any) -> real.Response:
    """One request, no redirect followed whatever is asked for. Raises RequestException."""
    wanted = {name: options.get(name) for name in ("headers", "files", "data", "json", "params", "auth", "cookies")}
    prepared = real.Request(method.upper(), url, **wanted).prepare()
    body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
    if body is not None and not isinstance(body, bytes):
        raise real.RequestException("streams are not sent")
    headers = {name: str(value) for name, value in prepared.headers.items() if name.lower() != "content-length"}
    try:
        answer = send(
            prepared.method or method,
            (prepared.url or url).partition("#")[0],
            timeout=TIMEOUT,
            most_bytes=MOST_BYTES,
            body=body,
            headers=headers,
        )
    except OutboundError as error:
        last_trouble.set(error.trouble)
        raise real.ConnectionError(str(error.trouble)) from None
    last_trouble.set("" if answer.status < 400 else f"http_{answer.status}")
    response = real.Response()
    response.status_code = answer.status
    response._content = answer.body
    response.headers = CaseInsensitiveDict()
    response.encoding = "utf-8"
    response.url = url
    return response


def get(url: str, **options: Any) -> real.Response:
    """GET."""
    return request("GET", url, **options)


def post(url: str, data: Any = None, json: Any = None, **options: Any) -> real.Response:
    """POST."""
    return request("POST", url, data=data, json=json, **options)


def put(url: str, data: Any = None, **options: Any) -> real.Response:
    """PUT."""
    return request("PUT", url, data=data, **options)


def patch(url: str, data: Any = None, **options: Any) -> real.Response:
    """PATCH."""
    return request("PATCH", url, data=data, **options)


def delete(url: str, **options: Any) -> real.Response:
    """DELETE."""
    return request("DELETE", url, **options)

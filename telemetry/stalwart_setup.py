"""The set-up of a Stalwart that reports here."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from telemetry.parsers.stalwart import USED

PATH = "/api/webhooks/stalwart"
# What stands where a secret belongs that is not to be shown.
TOKEN = "gs_PUT-THE-TOKEN-OF-THE-SOURCE-HERE"  # noqa: S105 - no secret
KEY = "PUT-THE-SIGNATURE-KEY-OF-THE-SOURCE-HERE"
# Nothing is made of these yet; they say what was handed to the queue, and what other receivers report.
ALSO = (
    "delivery.rate-limit-exceeded",
    "queue.authenticated-message-queued",
    "queue.message-queued",
    "incoming-report.dmarc-report",
    "incoming-report.dmarc-report-with-warnings",
    "incoming-report.tls-report",
    "incoming-report.tls-report-with-warnings",
    "incoming-report.auth-failure-report",
    "incoming-report.fraud-report",
    "incoming-report.not-spam-report",
    "incoming-report.virus-report",
    "incoming-report.other-report",
)
INCLUDED = (*USED, *ALSO)


def webhook_url(base: str) -> str:
    """Where Stalwart posts to. Raises ValueError for what is no http(s) address."""
    try:
        parts = urlsplit(base)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of the port too
        usable = False
    if not usable or not all(letter.isprintable() and letter not in "'\\ \"" for letter in base):
        raise ValueError(f"{base!r} is not an address such as https://standing.example.com.")
    address = base.rstrip("/")
    return address if address.endswith(PATH) else address + PATH


def toml(url: str, *, token: str, signed: bool) -> str:
    """The configuration up to v0.15."""
    events = "".join(f"    {json.dumps(name)},\n" for name in INCLUDED)
    key = f"signature-key = {json.dumps(KEY)}\n" if signed else ""
    return (
        '[webhook."good-standing"]\n'
        f"url = {json.dumps(url)}\n"
        f"events = [\n{events}]\n"
        'timeout = "30s"\n'
        'throttle = "1s"\n'
        "lossy = false\n"
        f"headers = [{json.dumps(f'Authorization: Bearer {token}')}]\n{key}"
    )


def web_hook(url: str, *, token: str, signed: bool) -> dict[str, object]:
    """The WebHook object of v0.16. Durations are left at their defaults (1 s, 30 s, 5 min)."""
    return {
        "url": url,
        "eventsPolicy": "include",
        "events": dict.fromkeys(INCLUDED, True),
        "httpAuth": {"@type": "Bearer", "bearerToken": {"@type": "Value", "secret": token}},
        "httpHeaders": {},
        "signatureKey": {"@type": "Value", "secret": KEY} if signed else {"@type": "None"},
        "lossy": False,
        "enable": True,
    }


def jmap(url: str, *, token: str, signed: bool) -> str:
    """The request to v0.16's management API (POST /api) that makes that object."""
    create = {"good-standing": web_hook(url, token=token, signed=signed)}
    request = {
        "using": ["urn:ietf:params:jmap:core", "urn:stalwart:jmap"],
        "methodCalls": [["x:WebHook/set", {"create": create}, "c1"]],
    }
    return json.dumps(request, indent=2)

"""The set-up of a Stalwart that reports here."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from telemetry.parsers.stalwart import USED

PATH = "/api/webhooks/stalwart"
HOOK_PATH = "/api/hooks/stalwart"
# Mail that comes in from outside goes through the same stages, and is nothing of ours to count or to hold back.
_OURS = "!is_empty(authenticated_as)"
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
    return _request("x:WebHook/set", web_hook(url, token=token, signed=signed))


def _request(method: str, made: dict[str, object]) -> str:
    request = {
        "using": ["urn:ietf:params:jmap:core", "urn:stalwart:jmap"],
        "methodCalls": [[method, {"create": {"good-standing": made}}, "c1"]],
    }
    return json.dumps(request, indent=2)


def hook_url(base: str, stage: str) -> str:
    """Where Stalwart's MTA hook asks, counting at this stage. Raises ValueError for what is no http(s) address."""
    return f"{webhook_url(base).removesuffix(PATH)}{HOOK_PATH}?count={stage}"


def hook_toml(url: str, *, token: str, stage: str) -> str:
    """The MTA hook up to v0.15."""
    return (
        '[session.hook."good-standing"]\n'
        f"url = {json.dumps(url)}\n"
        f"stages = [{json.dumps(stage)}]\n"
        f'enable = [ {{ if = "{_OURS}", then = true }}, {{ else = false }} ]\n'
        'timeout = "5s"\n'
        f"headers = [{json.dumps(f'Authorization: Bearer {token}')}]\n"
        "\n"
        '[session.hook."good-standing".options]\n'
        "tempfail-on-error = false\n"
    )


def mta_hook(url: str, *, token: str, stage: str) -> dict[str, object]:
    """The MtaHook object of v0.16."""
    return {
        "url": url,
        "stages": {stage: True},
        "enable": {"match": [{"if": _OURS, "then": "true"}], "else": "false"},
        "httpAuth": {"@type": "Bearer", "bearerToken": {"@type": "Value", "secret": token}},
        "httpHeaders": {},
        # Whether mail waits while nobody answers here.
        "tempFailOnError": False,
    }


def hook_jmap(url: str, *, token: str, stage: str) -> str:
    """The request to v0.16's management API (POST /api) that makes that object."""
    return _request("x:MtaHook/set", mta_hook(url, token=token, stage=stage))

"""Amazon SNS: a topic sends its events only after its subscription was confirmed by a visit to a URL of Amazon's."""

from __future__ import annotations

import http.client
import json
import re
from datetime import timedelta
from urllib.parse import urlsplit

TIMEOUT = timedelta(seconds=10)
_HOST = re.compile(r"sns\.[a-z0-9-]{2,30}\.amazonaws\.com(?:\.cn)?")


class CannotConfirmError(Exception):
    """The subscription was not confirmed; the message says why."""


def subscribe_url(body: bytes) -> str:
    """The URL that confirms an SNS subscription if that is what the body asks for; otherwise empty."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(message, dict) or message.get("Type") != "SubscriptionConfirmation":
        return ""
    url = message.get("SubscribeURL")
    return url if isinstance(url, str) else ""


def confirm(url: str) -> None:
    """Visit the URL, if it is one of Amazon SNS. Raises CannotConfirmError; SNS asks again after that."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise CannotConfirmError("The SubscribeURL is no URL.") from None
    # Whoever holds the token must not make us visit places of their choice.
    if parts.scheme != "https" or not _HOST.fullmatch(host) or port not in (None, 443) or parts.username is not None:
        raise CannotConfirmError("The SubscribeURL is not one of Amazon SNS.")
    connection = http.client.HTTPSConnection(host, timeout=TIMEOUT.total_seconds())
    try:
        connection.request("GET", f"{parts.path or '/'}?{parts.query}")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CannotConfirmError(f"Amazon SNS could not be reached: {type(error).__name__}.") from None
    finally:
        connection.close()
    if status != http.client.OK:
        raise CannotConfirmError(f"Amazon SNS answered {status}.")

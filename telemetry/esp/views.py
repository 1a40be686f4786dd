"""django-anymail's views made with a source's own key, and the two providers whose views need a package more."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

from anymail.exceptions import AnymailNotSupportedWarning, AnymailWebhookValidationFailure
from anymail.signals import AnymailTrackingEvent, EventType
from anymail.webhooks.amazon_ses import AmazonSESBaseWebhookView, AmazonSESTrackingWebhookView
from anymail.webhooks.resend import ResendTrackingWebhookView
from django.http import HttpRequest
from django.utils.module_loading import import_string

from telemetry.esp.catalogue import Esp

# Said at every request otherwise; that a provider's support may end is written in docs/esp.md.
warnings.filterwarnings("ignore", category=AnymailNotSupportedWarning)

# How far a signed time may lie off (Svix, "Verifying payloads"): an old request cannot be played again.
_SVIX_TOLERANCE = 300


class _Asked:
    """Our endpoint has asked for a token or a signature before; anymail need not warn that it asks for no password."""

    @property
    def warn_if_no_basic_auth(self) -> bool:
        """Never."""
        return False

    @warn_if_no_basic_auth.setter
    def warn_if_no_basic_auth(self, _: bool) -> None:
        pass


class AmazonSes(AmazonSESTrackingWebhookView):  # type: ignore[misc]
    """Amazon SES over SNS, without boto3, which anymail would confirm subscriptions with; telemetry/esp/sns.py does."""

    def __init__(self, **kwargs: Any) -> None:
        self.auto_confirm_enabled = False
        # Past the constructor that asks for boto3.
        super(AmazonSESBaseWebhookView, self).__init__(**kwargs)

    def esp_to_anymail_events(
        self, ses_event: dict[str, Any], sns_message: dict[str, Any]
    ) -> list[AnymailTrackingEvent]:
        """Anymail's events; delays, which it does not know, as deferrals."""
        events: list[AnymailTrackingEvent] = super().esp_to_anymail_events(ses_event, sns_message)
        if ses_event.get("eventType") != "DeliveryDelay" or not events:
            return events
        common = events[0]
        return [
            AnymailTrackingEvent(
                event_type=EventType.DEFERRED,
                esp_event=ses_event,
                event_id=common.event_id,
                message_id=common.message_id,
                timestamp=common.timestamp,
                recipient=delayed["emailAddress"],
                mta_response=delayed.get("diagnosticCode"),
            )
            for delayed in ses_event["deliveryDelay"]["delayedRecipients"]
        ]


class Resend(ResendTrackingWebhookView):  # type: ignore[misc]
    """Resend, whose signatures (of Svix) are checked here: a dozen lines against a package with many of its own."""

    def __init__(self, svix_secret: str = "", **kwargs: Any) -> None:
        encoded = svix_secret.removeprefix("whsec_")
        self._key = base64.b64decode(encoded, validate=True) if encoded else b""
        super().__init__(signing_secret=None, **kwargs)

    def validate_request(self, request: HttpRequest) -> None:
        """HMAC-SHA256 over id, time and body; raises AnymailWebhookValidationFailure. Called beside its parents'."""
        if not self._key:
            return
        names = ("svix-id", "svix-timestamp", "svix-signature")
        sent_id, sent_at, signatures = (request.headers.get(name, "") for name in names)
        if not sent_at.isascii() or not sent_at.isdigit() or abs(time.time() - int(sent_at[:15])) > _SVIX_TOLERANCE:
            raise AnymailWebhookValidationFailure("svix-timestamp is missing or too far off")
        signed = f"{sent_id}.{sent_at}.".encode() + request.body
        expected = base64.b64encode(hmac.new(self._key, signed, hashlib.sha256).digest())
        given = [entry.partition(",")[2].encode() for entry in signatures.split(" ") if entry.startswith("v1,")]
        # Every one is compared, so that the time does not tell which fitted.
        if not sum(hmac.compare_digest(expected, signature) for signature in given):
            raise AnymailWebhookValidationFailure("svix-signature is missing or does not fit the body")


def view_of(esp: Esp, key: str = "") -> Any:
    """A fresh view of the provider that checks signatures with this key. Raises ValueError for a key that is none.

    Without a key the view reads bodies; whoever calls has made sure that they are genuine.
    """
    secrets: Mapping[str, str] = {}
    if esp.secret and (key or esp.placeholder):
        secrets = {esp.secret: _bare(key) or "unused"}
    return _class_of(esp.view)(webhook_secret=[], **secrets)


@cache
def _class_of(path: str) -> Any:
    found = import_string(path)
    return type(found.__name__, (_Asked, found), {"__module__": __name__})


def _bare(key: str) -> str:
    """A key without PEM's first and last line, which providers show and anymail adds itself."""
    return "".join(line.strip() for line in key.strip().splitlines() if not line.startswith("-----"))

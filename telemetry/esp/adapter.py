"""From a provider's record to our events: django-anymail reads it, and what it says becomes our own."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from anymail.exceptions import AnymailError
from anymail.signals import AnymailTrackingEvent
from anymail.signals import EventType as Tracked
from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation
from django.core.handlers.wsgi import WSGIRequest
from django.http.multipartparser import MultiPartParserError

from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event
from telemetry.domain.vocab import UNKNOWN_IP, EventType
from telemetry.esp.catalogue import ESPS, Envelope, Esp
from telemetry.esp.facts import Facts, facts_of
from telemetry.esp.views import view_of
from telemetry.parsers import mail_fields
from telemetry.parsers.mail_parts import address_in

# Anymail trusts providers to send what they document; these are what it raises when they do not.
ODD = (
    *(ValueError, TypeError, LookupError, AttributeError, AssertionError, RecursionError, OverflowError, OSError),
    *(AnymailError, SuspiciousOperation, ImproperlyConfigured, MultiPartParserError),
)

_TYPES = {
    Tracked.DELIVERED: EventType.DELIVERY,
    Tracked.BOUNCED: EventType.BOUNCE,
    Tracked.DEFERRED: EventType.DEFER,
    Tracked.COMPLAINED: EventType.COMPLAINT,
}
# Postal's HardFail is a server's permanent refusal; anymail files it under what the provider could not send at all.
_MORE_TYPES = {("postal", Tracked.FAILED): EventType.BOUNCE}
_ACCEPTED = re.compile(r"\s*(2\d\d)(?!\d)")
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"


def events_of(slug: str, ip_map: Mapping[str, str], raw: bytes, now: datetime) -> Sequence[Event]:
    """What one record says; nothing for what is no outcome at a mail server. Raises ParseError.

    Only for what was checked before: signatures are not looked at again.
    """
    esp = ESPS[slug]
    try:
        tracked = view_of(esp).parse_events(_request(esp, raw))
    except ODD as error:
        raise ParseError("event", f"is not what {esp.title} documents ({type(error).__name__})") from None
    found = [event for each in tracked if (event := _event(esp, each, ip_map, now)) is not None]
    if slug == "amazon_ses" and len(found) > 1 and found[0].type is EventType.COMPLAINT:
        return [_one_of(found)]
    return found


def _request(esp: Esp, raw: bytes) -> WSGIRequest:
    """The record as the provider's view would get it if it came alone."""
    is_json = raw.lstrip()[:1] in (b"{", b"[")
    body, content_type = raw, _JSON if is_json else _FORM
    if is_json and esp.envelope is Envelope.ARRAY:
        body = b"[" + raw + b"]"
    elif is_json and esp.envelope is Envelope.EVENTS:
        body = b'{"events":[' + raw + b"]}"
    elif esp.envelope is Envelope.FORM:
        body, content_type = urlencode({"mandrill_events": b"[" + raw + b"]"}).encode(), _FORM
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/",
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    return WSGIRequest(environ)


def _event(esp: Esp, tracked: AnymailTrackingEvent, ip_map: Mapping[str, str], now: datetime) -> Event | None:
    kind = _MORE_TYPES.get((esp.slug, tracked.event_type)) or _TYPES.get(tracked.event_type)
    if kind is None:
        return None
    given = tracked.recipient if isinstance(tracked.recipient, str) else ""
    facts = facts_of(esp.slug, tracked.esp_event, given)
    if facts.suppressed:
        return None
    if tracked.timestamp is None:
        raise ParseError("timestamp", "is missing")
    occurred_at, future = clean.moment(tracked.timestamp, "timestamp", now=now)
    recipient, recipient_domain = clean.recipient(address_in(given) or given, "recipient") if given else ("", "")
    said = _said(tracked)
    answer = mail_fields.answer(said, facts.status) if kind in (EventType.BOUNCE, EventType.DEFER) else None
    accepted = _ACCEPTED.match(said) if kind is EventType.DELIVERY else None
    return Event(
        type=kind,
        occurred_at=occurred_at,
        future=future,
        sending_ip=_sending_ip(esp, facts, ip_map),
        sending_domain=mail_fields.domain(address_in(facts.sender), f"@{facts.sender}"),
        recipient=recipient,
        recipient_domain=recipient_domain,
        mx_host=clean.host_name(clean.text(facts.mx, longest=clean.LONGEST_DOMAIN)),
        smtp_code=answer.code if answer else int(accepted[1]) if accepted else None,
        enhanced_code=answer.enhanced if answer else "",
        reply=answer.text if answer else clean.text(said, longest=clean.LONGEST_REPLY),
        attempt_number=facts.attempt,
        message_id=clean.text(str(tracked.message_id or "").strip("<> "), longest=clean.LONGEST_ID),
        classification=clean.text(str(tracked.reject_reason or tracked.event_type), longest=clean.LONGEST_WORD),
        node=clean.text(facts.node, longest=clean.LONGEST_WORD),
        event_id=_event_id(esp, tracked, facts, kind, recipient),
    )


def _said(tracked: AnymailTrackingEvent) -> str:
    words = (tracked.mta_response, tracked.description)
    return next((found for found in words if isinstance(found, str) and found.strip()), "")


def _sending_ip(esp: Esp, facts: Facts, ip_map: Mapping[str, str]) -> str:
    """What the event says, else what the source's IP mapping has for the provider's server or the provider itself."""
    told = mail_fields.ip(facts.ip)
    if told != UNKNOWN_IP:
        return told
    return mail_fields.ip(ip_map.get(facts.node, "") or ip_map.get(esp.slug, ""))


def _event_id(esp: Esp, tracked: AnymailTrackingEvent, facts: Facts, kind: EventType, recipient: str) -> str:
    """An id that is stable over retries, empty where there is none and the content must be the key.

    It holds type and recipient, as one notification may speak of several, but as a digest: how much of an address is
    kept is not decided here.
    """
    own = facts.event_id if facts.event_id is not None else str(tracked.event_id or "")
    if not own:
        return ""
    said = repr((own, kind.value, recipient)).encode("utf-8", "replace")
    return f"{esp.slug}:{hashlib.blake2b(said, digest_size=16).hexdigest()}"


def _one_of(complaints: Sequence[Event]) -> Event:
    """SES names everybody at that provider who may have complained; it was one of them."""
    domains = {event.recipient_domain for event in complaints}
    return replace(complaints[0], recipient="", recipient_domain=domains.pop() if len(domains) == 1 else "")

"""What a provider says beyond what django-anymail makes the same for all: sending IP, sender, codes, attempt, own id.

One small reader per provider over its raw event. A field that is not there, or is not of the kind that the provider
documents, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One provider's event beyond the common fields; empty where it does not say."""

    ip: str = ""
    sender: str = ""
    """An address, or a domain alone."""
    mx: str = ""
    node: str = ""
    """What the source's IP mapping may know: the provider's server or stream."""
    status: str = ""
    """Codes given apart from the reply text."""
    attempt: int | None = None
    event_id: str | None = None
    """The id that stays the same when the event is sent again; None: the one that anymail gives, "": there is none."""
    suppressed: bool = False
    """The provider's own list or rule stopped it; no mail server was asked."""


def facts_of(slug: str, event: object, recipient: str) -> Facts:
    """What the provider's raw event says about this recipient."""
    reader = _READERS.get(slug)
    return reader(event, recipient) if reader is not None and isinstance(event, Mapping) else Facts()


def at(value: object, *path: str | int) -> Any:
    """The value at this path of a decoded JSON text, or None."""
    for step in path:
        try:
            if isinstance(step, int):
                value = value[step] if isinstance(value, Sequence) and not isinstance(value, str) else None
            else:
                value = value[step] if isinstance(value, Mapping) else None
        except (LookupError, TypeError):
            return None
    return value


def text_at(value: object, *path: str | int) -> str:
    """The text or number at this path as text, else empty."""
    found = at(value, *path)
    return found if isinstance(found, str) else str(found) if type(found) in (int, float) else ""


def _number(value: str, *, first: int = 1) -> int | None:
    """An attempt's number counted from 1, out of one counted from `first`; None where the text is none."""
    number = int(value) + 1 - first if value.isascii() and value.isdigit() and len(value) < 6 else 0
    return number or None


def _amazon_ses(event: Mapping[str, Any], recipient: str) -> Facts:
    bounce = at(event, "bounce")
    blamed = [*(at(bounce, "bouncedRecipients") or ()), *(at(event, "deliveryDelay", "delayedRecipients") or ())]
    status = next((text_at(entry, "status") for entry in blamed if at(entry, "emailAddress") == recipient), "")
    reporter = next(
        (name for key in ("delivery", "bounce", "deliveryDelay") if (name := text_at(event, key, "reportingMTA"))), ""
    )
    return Facts(
        # Not mail.sourceIp: that is the client that handed the message to SES.
        ip=text_at(event, "mail", "tags", "ses:outgoing-ip", 0),
        sender=text_at(event, "mail", "source"),
        node=reporter.rpartition(";")[2].strip(),
        status=status,
        suppressed=text_at(bounce, "bounceSubType")
        in ("Suppressed", "OnAccountSuppressionList", "UnsubscribedRecipient"),
    )


def _brevo(event: Mapping[str, Any], recipient: str) -> Facts:
    return Facts(ip=text_at(event, "sending_ip"), sender=text_at(event, "sender_email"))


def _mailersend(event: Mapping[str, Any], recipient: str) -> Facts:
    return Facts(sender=text_at(event, "data", "email", "from"))


def _mailgun(event: Mapping[str, Any], recipient: str) -> Facts:
    data = at(event, "event-data")
    if data is None:  # the form of before 2018
        return Facts(sender=text_at(event, "domain"), status=text_at(event, "code"), event_id="")
    code = text_at(data, "delivery-status", "code")
    own_id, moment = text_at(data, "id"), text_at(data, "timestamp")
    return Facts(
        ip=text_at(data, "envelope", "sending-ip"),
        sender=text_at(data, "envelope", "sender") or text_at(data, "message", "headers", "from"),
        mx=text_at(data, "delivery-status", "mx-host"),
        status=f"{code} {text_at(data, 'delivery-status', 'enhanced-code')}",
        attempt=_number(text_at(data, "delivery-status", "attempt-no")),
        # The signature's token, which anymail gives, belongs to the request; the id is unique within a day.
        event_id=f"{own_id} {moment}" if own_id and moment else "",
        # 6xx are Mailgun's own: the address bounced, complained or left before.
        suppressed=text_at(data, "reason").startswith("suppress-") or (len(code) == 3 and code[0] == "6"),
    )


def _mailtrap(event: Mapping[str, Any], recipient: str) -> Facts:
    return Facts(
        sender=text_at(event, "sending_domain_name"),
        status=text_at(event, "response_code"),
        node=text_at(event, "sending_stream"),
        suppressed=at(event, "event") == "suspension",
    )


def _mandrill(event: Mapping[str, Any], recipient: str) -> Facts:
    return Facts(ip=text_at(event, "msg", "smtp_events", -1, "source_ip"), sender=text_at(event, "msg", "sender"))


def _postal(event: Mapping[str, Any], recipient: str) -> Facts:
    message = at(event, "payload", "message") or at(event, "payload", "original_message")
    return Facts(sender=text_at(message, "from"))


def _postmark(event: Mapping[str, Any], recipient: str) -> Facts:
    return Facts(sender=text_at(event, "From"), node=text_at(event, "MessageStream"))


def _resend(event: Mapping[str, Any], recipient: str) -> Facts:
    # Its id is a header that a replay does not have: the content is the key.
    said = text_at(event, "data", "bounce", "message")
    return Facts(sender=text_at(event, "data", "from"), event_id="", suppressed="suppressed sending" in said)


def _sendgrid(event: Mapping[str, Any], recipient: str) -> Facts:
    # In a complaint, as in opens and clicks, `ip` would be whoever clicked.
    ip = text_at(event, "ip") if at(event, "event") in ("delivered", "bounce", "deferred") else ""
    return Facts(ip=ip, status=text_at(event, "status"), attempt=_number(text_at(event, "attempt")))


def _sparkpost(event: Mapping[str, Any], recipient: str) -> Facts:
    inner = next(iter((at(event, "msys") or {}).values()), None) if isinstance(at(event, "msys"), Mapping) else None
    return Facts(
        # Not ip_address: that is the receiving server.
        ip=text_at(inner, "sending_ip"),
        sender=text_at(inner, "msg_from") or text_at(inner, "friendly_from") or text_at(inner, "sending_domain"),
        status=text_at(inner, "error_code"),
        attempt=_number(text_at(inner, "num_retries"), first=0),
        suppressed=text_at(inner, "bounce_class") == "25",
    )


def _unisender_go(event: Mapping[str, Any], recipient: str) -> Facts:
    status = text_at(event, "delivery_info", "delivery_status")
    return Facts(suppressed=status in ("err_unsubscribed", "err_skip_letter", "err_spam_skipped"))


_READERS: dict[str, Callable[[Mapping[str, Any], str], Facts]] = {
    "amazon_ses": _amazon_ses,
    "brevo": _brevo,
    "mailersend": _mailersend,
    "mailgun": _mailgun,
    "mailtrap": _mailtrap,
    "mandrill": _mandrill,
    "postal": _postal,
    "postmark": _postmark,
    "resend": _resend,
    "sendgrid": _sendgrid,
    "sparkpost": _sparkpost,
    "unisender_go": _unisender_go,
}

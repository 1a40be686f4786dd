"""One event as every parser hands it on, and the key by which two reports of it are recognised as the same."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime

from telemetry.domain.vocab import UNKNOWN_IP, EventType


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The outcome of one delivery attempt to one recipient, or a later complaint or bounce report about it.

    Values are already clean: the IP canonical, domains lower-case A-labels, times aware UTC, no NUL in any text.
    """

    type: EventType
    occurred_at: datetime
    sending_ip: str = UNKNOWN_IP
    sending_domain: str = ""
    """Domain of the envelope or header sender; empty for the null sender and where the source does not tell."""
    recipient: str = ""
    recipient_domain: str = ""
    mx_host: str = ""
    smtp_code: int | None = None
    enhanced_code: str = ""
    """RFC 3463 with any number of digits (5.7.606); empty when the reply had none."""
    reply: str = ""
    attempt_number: int | None = None
    message_id: str = ""
    """The server's id of the message (queue id), the same for each attempt."""
    classification: str = ""
    """What the source itself called it, kept as it came."""
    node: str = ""
    event_id: str = ""
    """The sender's own id where it is stable over retries; empty makes the content the key."""
    future: bool = False
    """True when the source claimed a time more than five minutes ahead and the receive time was taken instead."""

    @property
    def code(self) -> str:
        """What refusals are counted by: the enhanced code, else the three digits, else an empty string."""
        if self.enhanced_code:
            return self.enhanced_code
        return str(self.smtp_code) if self.smtp_code is not None else ""

    @property
    def is_tracked(self) -> bool:
        """True when the source lets us tell which deferrals are attempts of one message (message id and number)."""
        return bool(self.message_id and self.attempt_number and self.recipient)


def event_key(source_id: int, event: Event) -> uuid.UUID:
    """128 bits that are equal exactly when two reports of this source are the same event.

    The sender's id decides where there is one (its other fields may differ); the content decides otherwise.
    """
    if event.event_id:
        return _digest("id", source_id, event.event_id)
    return _digest(
        "content",
        source_id,
        event.type,
        # A source that dates into the future would get a new receive time, hence a new key, at each retry.
        "" if event.future else event.occurred_at.isoformat(),
        event.sending_ip,
        event.sending_domain,
        event.recipient or event.recipient_domain,
        event.mx_host,
        event.smtp_code,
        event.enhanced_code,
        event.reply,
        event.attempt_number,
        event.message_id,
        event.node,
    )


def message_key(source_id: int, event: Event) -> uuid.UUID:
    """128 bits for "this message to this recipient", whatever the attempt."""
    return _digest("message", source_id, event.node, event.message_id, event.recipient)


def _digest(*parts: object) -> uuid.UUID:
    # Each part carries its length, so that ("ab", "c") and ("a", "bc") differ.
    texts = [str(part).encode("utf-8", "surrogatepass") for part in parts]
    whole = b"".join([b"%d:%b" % (len(text), text) for text in texts])
    return uuid.UUID(bytes=hashlib.blake2b(whole, digest_size=16).digest())

"""From an SMTP reply to the kind of event it is; why it refused is for the rules (`telemetry.domain.classifier`)."""

from __future__ import annotations

from telemetry.domain.vocab import EventType


def failure_type(smtp_code: int | None, enhanced_code: str) -> EventType | None:
    """Bounce or defer by the reply code's first digit, else by the enhanced code's class; None when neither tells.

    The reply code rules where the two disagree: it is what the client acts on (RFC 5321 section 4.2.1).
    """
    first = smtp_code // 100 if smtp_code is not None else int(enhanced_code[0]) if enhanced_code else 0
    return {4: EventType.DEFER, 5: EventType.BOUNCE}.get(first)

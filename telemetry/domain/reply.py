"""From an SMTP reply to the kind of event it is and the broad cause it names.

The cause here goes by the enhanced code alone and is deliberately coarse: a bare 5.7.1 means "refused" and nothing
more. Provider and text refine it in a table of rules of its own.
"""

from __future__ import annotations

from telemetry.domain.vocab import EventType

# Registered meaning of the codes (IANA "SMTP Enhanced Status Codes" registry, RFC 3463, 7372, 7505, 8617) and of the
# Microsoft ones (Exchange Online NDR page), seen from the sender who must act on them.
_CAUSES: dict[str, str] = {
    "X.1.1": "unknown_user",
    "X.1.2": "unknown_user",
    "X.1.6": "unknown_user",
    "X.1.10": "unknown_user",
    "X.1.7": "infrastructure",
    "X.1.8": "infrastructure",
    "X.2.1": "unknown_user",
    "X.2.2": "mailbox_full",
    "X.3.4": "content",
    "X.4.1": "network",
    "X.4.2": "network",
    "X.4.4": "network",
    "X.4.7": "network",
    "X.6.0": "content",
    "X.7.0": "policy",
    "X.7.1": "refused",
    "X.7.7": "infrastructure",
    "X.7.20": "authentication",
    "X.7.21": "authentication",
    "X.7.22": "authentication",
    "X.7.23": "authentication",
    "X.7.24": "authentication",
    "X.7.25": "infrastructure",
    "X.7.26": "authentication",
    "X.7.27": "infrastructure",
    "X.7.28": "rate_limit",
    "X.7.29": "authentication",
    "X.7.30": "authentication",
    "X.7.510": "policy",
    "X.7.512": "content",
    "X.7.515": "authentication",
    "X.7.606": "reputation",
    "X.7.650": "rate_limit",
}
_BY_SUBJECT: dict[str, str] = {"1": "address", "2": "mailbox", "4": "network", "6": "content", "7": "policy"}


def failure_type(smtp_code: int | None, enhanced_code: str) -> EventType | None:
    """Bounce or defer by the reply code's first digit, else by the enhanced code's class; None when neither tells.

    The reply code rules where the two disagree: it is what the client acts on (RFC 5321 section 4.2.1).
    """
    first = smtp_code // 100 if smtp_code is not None else int(enhanced_code[0]) if enhanced_code else 0
    return {4: EventType.DEFER, 5: EventType.BOUNCE}.get(first)


def cause_of(code: str) -> str:
    """The broad cause that a code names by itself; "unknown" when it names none."""
    if code.count(".") != 2:
        return "unknown"
    _, subject, detail = code.split(".")
    return _CAUSES.get(f"X.{subject}.{detail}") or _BY_SUBJECT.get(subject, "unknown")

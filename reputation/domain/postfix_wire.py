"""What Postfix says to a policy service and to a socketmap, and what it wants to hear.

SMTPD_POLICY_README: `name=value` lines up to an empty line; the answer is `action=…` and an empty line.
socketmap_table(5): netstrings; `name key` is answered by `OK value`, `NOTFOUND `, `TEMP why` or `PERM why`.
"""

from __future__ import annotations

from collections.abc import Mapping

from reputation.domain.permit import Action, Answer, Ask

# Postfix sends about 30 short lines; a key is an address.
MOST_REQUEST_BYTES = 32_768
MOST_KEY_BYTES = 2_048
LONGEST_TEXT = 240


class WireError(ValueError):
    """The other side does not speak the protocol; the message says what is wrong."""


def attributes(request: bytes) -> dict[str, str]:
    """The attributes of one request (without its empty line). Raises WireError."""
    found: dict[str, str] = {}
    for line in request.decode("utf-8", "replace").split("\n"):
        name, mark, value = line.partition("=")
        if not mark or not name:
            raise WireError("a line without a name and “=”")
        found[name] = value
    if found.get("request") != "smtpd_access_policy":
        raise WireError("request is not smtpd_access_policy")
    return found


def counts(request: Mapping[str, str], state: str) -> bool:
    """Whether this request is the one that spends: those of other protocol states only look."""
    return request.get("protocol_state", "").upper() == state


def ask_of(request: Mapping[str, str], pool: str) -> Ask:
    """The question in a request. Before DATA each recipient is asked about alone; afterwards all are counted."""
    told = request.get("recipient_count", "")
    recipients = int(told) if told.isascii() and told.isdecimal() else 0
    return Ask(
        sender=request.get("sender", ""),
        recipient=request.get("recipient", ""),
        recipients=max(1, min(recipients, 1_000_000)),
        pool=pool,
    )


def action_of(answer: Answer) -> bytes:
    """The reply to the policy client. DEFER_IF_PERMIT and WARN leave the word to the restrictions that follow."""
    if answer.action is Action.DEFER:
        action = f"DEFER_IF_PERMIT 4.7.1 {reply_text(answer.reason)}"
    elif answer.action is Action.REJECT:
        action = f"REJECT 5.7.1 {reply_text(answer.reason)}"
    elif answer.warns:
        action = f"WARN {reply_text(answer.reason)}"
    else:
        action = "DUNNO"
    return f"action={action}\n\n".encode()


def reply_text(text: str) -> str:
    """One line of printable ASCII, as an SMTP reply may hold it (RFC 5321 section 4.2)."""
    plain = text.replace("“", '"').replace("”", '"').replace("×", "x").replace("–", "-")
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in " ".join(plain.split()))
    return plain[:LONGEST_TEXT].rstrip()


def netstring(text: str) -> bytes:
    """A text with its length before it."""
    raw = text.encode()
    return b"%d:%s," % (len(raw), raw)


def take_netstring(buffer: bytearray) -> str | None:
    """Take the first whole netstring off the buffer; None while it is not whole. Raises WireError."""
    head, mark, _ = bytes(buffer[:8]).partition(b":")
    if not mark:
        if len(head) >= 8 or (not head.isdigit() and head):
            raise WireError("no netstring")
        return None
    if not head.isdigit() or int(head) > MOST_KEY_BYTES:
        raise WireError("no netstring, or a key too long")
    start, end = len(head) + 1, len(head) + 1 + int(head)
    if len(buffer) <= end:
        return None
    if buffer[end : end + 1] != b",":
        raise WireError("a netstring without its comma")
    text = bytes(buffer[start:end]).decode("utf-8", "replace")
    del buffer[: end + 1]
    return text

"""What an operator should do next about an IP's standing, most urgent first.

The issue type follows the documented thresholds over raw codes; the advice follows what a code really means at the
provider that gave it (Google's sender error page, Microsoft's NDR page, the IANA registry). Where the two differ the
sentence says so, because a missing record is not a bad reputation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reputation.domain.policy import IssueType, Status
from telemetry.domain.window import RefusalCount

_BY_STATUS: Mapping[Status, str] = {
    Status.BLACKLISTED: "Stop sending from this IP and move its queue to a healthy one; several providers refuse it.",
    Status.QUARANTINE: "Take this IP out of rotation, find the cause below, and resume in small steps.",
    Status.WARNING: "Slow down from this IP and watch the next windows before sending more.",
}

_BY_ISSUE: Mapping[IssueType, tuple[str, ...]] = {
    IssueType.CONTENT: (
        "Compare the refused messages with those that were delivered: headers, links and the latest template change.",
        "Look for a compromised account or form that sends through this IP.",
    ),
    IssueType.REPUTATION: (
        "Read the reply texts: 5.7.1 alone says only that the message was refused, not why.",
        "Check whether the IP is on a blocklist, and ask for delisting only once the cause is gone.",
        "Look at which sending domain or campaign began when the refusals began, and hold it.",
    ),
    IssueType.AUTHENTICATION: (
        "Check SPF, DKIM and DMARC of the sending domains: the SPF record must name this IP, the DKIM key must be"
        " published, and one of the two must align with the From domain.",
        "Send a message to a mailbox of your own and read its Authentication-Results header.",
    ),
    IssueType.INFRASTRUCTURE: (
        "Check that the IP has a PTR record, and that the name it gives resolves back to the same IP (FCrDNS).",
        "Check that the sending domain has an MX or address record and that the EHLO name resolves.",
    ),
    IssueType.POLICY: (
        "Send less per hour and over fewer connections to the refusing providers.",
        "Read the reply texts for the rule that was broken; a policy refusal usually names it.",
    ),
    IssueType.HYGIENE: (
        "Remove the addresses refused as unknown at once, and find out how they came into the list.",
        "Confirm new addresses before the first mailing.",
    ),
    IssueType.RATE_LIMITING: ("The refusals are mostly temporary: the mail is not lost, the server tries again.",),
    IssueType.MIXED: ("No single cause stands out: look at the refusals by provider and by sending domain.",),
}

_WAIT = (
    "Wait: leave the deferred mail to the queue's growing retry intervals, send no faster meanwhile, and open fewer"
    " connections to the deferring providers."
)
_WAIT_GOOGLE = "Gmail asks for ten minutes of silence, then one connection, adding one at a time."
_CONNECT = (
    "Connect a source that reports deliveries too, or report the volume sent: without it no ratio can be judged and the"
    " standing stops at warning."
)

_GOOGLE = frozenset({"google"})
_MICROSOFT = frozenset({"microsoft", "microsoft_consumer", "microsoft_365"})


@dataclass(frozen=True, slots=True)
class _Note:
    """One sentence that holds when a refusal with one of these codes came (from one of these providers, if named)."""

    codes: frozenset[str]
    text: str
    providers: frozenset[str] = frozenset()
    elsewhere: bool = False
    """True: holds at every provider but those named."""

    def holds(self, refusal: RefusalCount) -> bool:
        if refusal.code not in self.codes:
            return False
        return not self.providers or (refusal.provider in self.providers) is not self.elsewhere


_NOTES = (
    _Note(
        frozenset({"5.7.606"}),
        "5.7.606 is Microsoft's block of the sending IP: after mending the cause ask for removal at sender.office.com.",
    ),
    _Note(
        frozenset({"5.7.512"}),
        "At Microsoft 5.7.512 means a malformed message: check that From holds exactly one valid address"
        " (RFC 5322 section 3.6.2).",
        _MICROSOFT,
    ),
    _Note(
        frozenset({"5.7.27", "4.7.27"}),
        "At Gmail x.7.27 means that SPF did not pass: add this IP to the envelope sender's SPF record.",
        _GOOGLE,
    ),
    _Note(
        frozenset({"5.7.27"}),
        "5.7.27 says the envelope sender's domain has a null MX and so accepts no replies (RFC 7505): use a domain"
        " that takes mail.",
        _GOOGLE,
        elsewhere=True,
    ),
    _Note(frozenset({"4.7.23"}), "At Gmail 4.7.23 means a missing or wrong PTR record, not SPF.", _GOOGLE),
    _Note(frozenset({"5.7.23"}), "5.7.23 says SPF did not pass (RFC 7372): name this IP in the SPF record."),
    _Note(
        frozenset({"5.7.25", "4.7.25"}),
        "x.7.25 says the reverse DNS of the IP failed (RFC 7372): publish a PTR record and the matching address"
        " record.",
    ),
    _Note(
        frozenset({"5.7.26", "4.7.26"}),
        "x.7.26 says that more than one authentication check failed: sign with DKIM and align it with the From domain.",
    ),
    _Note(frozenset({"5.7.7"}), "5.7.7 says the message was altered on its way: look for a relay that rewrites it."),
    _Note(
        frozenset({"5.1.8"}),
        "5.1.8 says the sender's domain was not accepted: check that it exists and resolves.",
    ),
    _Note(
        frozenset({"5.7.510"}),
        "At Microsoft 5.7.510 means that the recipient's domain takes no mail over IPv6: deliver to it over IPv4.",
        _MICROSOFT,
    ),
    _Note(
        frozenset({"5.7.515"}),
        "Outlook.com wants SPF, DKIM and DMARC from domains that send more than 5,000 messages a day.",
    ),
    _Note(
        frozenset({"5.7.28", "4.7.28"}),
        "x.7.28 says the recipient's side saw an unusual flood from this sender: pause, then start slowly.",
    ),
)

# Unknown-user refusals worth acting on even under a good standing, where they are not yet the main issue.
_UNKNOWN_USER = "5.1.1"


def recommend(
    *,
    status: Status,
    issue_type: IssueType,
    refusals: Sequence[RefusalCount],
    majors: Sequence[str],
    temporary: int,
    volume_known: bool,
) -> tuple[str, ...]:
    """Sentences for the operator, most urgent first, none twice; empty when there is nothing to do.

    `refusals` and `temporary` are attempts of the window, `majors` the major providers that refused.
    """
    present = [refusal for refusal in refusals if refusal.count > 0]
    if status is Status.HEALTHY:
        return tuple(_for_healthy(present, volume_known))
    sentences = [_BY_STATUS[status], *_BY_ISSUE.get(issue_type, ())]
    sentences += [note.text for note in _NOTES if any(note.holds(refusal) for refusal in present)]
    if temporary or issue_type is IssueType.RATE_LIMITING:
        sentences.append(_WAIT)
        if any(refusal.code.startswith("4") and refusal.provider in _GOOGLE for refusal in present):
            sentences.append(_WAIT_GOOGLE)
    if status.severity >= Status.QUARANTINE.severity and majors:
        sentences.append(f"Resume with small numbers first at {', '.join(majors)}; each judges by what it saw itself.")
    if not volume_known:
        sentences.append(_CONNECT)
    return tuple(dict.fromkeys(sentences))


def _for_healthy(refusals: Sequence[RefusalCount], volume_known: bool) -> Iterable[str]:
    unknown = sum(refusal.count for refusal in refusals if refusal.code == _UNKNOWN_USER)
    if unknown:
        yield f"Remove the addresses refused as unknown ({unknown}) from the list."
    if refusals and not volume_known:
        yield _CONNECT

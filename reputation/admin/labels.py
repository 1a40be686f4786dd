"""How a status, a score and a ratio look: always a word or a number, the colour only beside it."""

from __future__ import annotations

from fractions import Fraction

from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from reputation.domain.policy import Status, percent
from telemetry.admin.parts import link_to

STATUS_COLOURS = {
    Status.HEALTHY.value: "success",
    Status.WARNING.value: "warning",
    Status.QUARANTINE.value: "danger",
    Status.BLACKLISTED.value: "danger",
}
# Where a score begins to be worth a look, and where it is bad: two penalties, then more than one heavy one.
_GOOD_FROM, _FAIR_FROM = 85, 60
SCORE_COLOURS = {"good": "success", "fair": "warning", "poor": "danger"}


def share(ratio: float | None) -> str:
    """A stored ratio (0 to 1) in percent; "unknown" where the volume is."""
    return "unknown" if ratio is None else percent(Fraction(ratio))


def of_sent(rejected: int, sent: int | None) -> str:
    """The two numbers of a rejection ratio, in words."""
    return f"{rejected} of {sent} sent" if sent is not None else f"{rejected} refused, volume unknown"


def score_label(score: int | None) -> tuple[str, str]:
    """The colour word and the text of a score."""
    if score is None:
        return "", "no score yet"
    word = "good" if score >= _GOOD_FROM else "fair" if score >= _FAIR_FROM else "poor"
    return word, f"{score} {word}"


def audit_score_label(score: int | None, *, audited: bool) -> tuple[str, str]:
    """The same of an audit, which may have found nobody to ask."""
    return ("", "nothing could be checked") if audited and score is None else score_label(score)


def look_further(ip: str) -> SafeString:
    """Links from an IP to everything else that is known of it."""
    places = (
        ("reputation_ipstandinghistory_changelist", "history"),
        ("reputation_auditentry_changelist", "audit log"),
        ("reputation_override_changelist", "overrides"),
        ("telemetry_sendingevent_changelist", "events"),
        ("telemetry_refusalminute_changelist", "refusals by minute"),
        ("telemetry_trafficminute_changelist", "traffic by minute"),
    )
    links = [link_to(name, text, query={"sending_ip": ip}) for name, text in places]
    return format_html_join(" · ", "{}", ((link,) for link in links))

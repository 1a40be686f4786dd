"""What people may do about an IP or a domain from its page. Each act says first what will happen, then asks why.

The services decide and write; here is which act is offered to whom, its form, and what is told afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from dashboard.words import provider_title
from reputation import audits, blocklist_queries, blocklists, breaker_acts, overrides
from reputation.domain.breaker_policy import Kind, Scope, State
from reputation.domain.dnsbl import Result, is_public
from reputation.domain.policy import Status
from reputation.models import AuditTarget, Breaker, IpStanding, ListingEvent, Override
from reputation.models.standing import STATUSES
from telemetry.mailbox_providers import directory

HOUR = timedelta(hours=1)
# In hours, as the form sends them.
ENDS = {"1": "in 1 hour", "4": "in 4 hours", "24": "in 24 hours", "168": "in 7 days"}
NAMED_LISTS = 5
Told = tuple[int, str]
"""A message's level and text."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Whom an act is about, in canonical form."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that can be done."""

    name: str
    title: str
    says: str
    """What will happen."""
    permission: str
    run: Callable[[Sender, dict[str, Any], User, datetime], Sequence[Told]]
    kinds: tuple[str, ...] = ("ip",)
    asks_reason: bool = True
    may_end: bool = False
    without_end: str = ""
    """The choice of no end; empty where the service always takes one."""
    asks: str = ""
    """One more thing to choose: status, provider or breaker."""
    is_grave: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """An act as the page shows it; open where its form came back with errors."""

    act: Act
    form: ActForm
    now: str
    """What is so before the act, where that helps to decide."""
    is_open: bool = False


class ActForm(forms.Form):
    """Why, for how long, and what else the act needs to know."""

    status = forms.ChoiceField(label="Status", choices=STATUSES)
    provider = forms.ChoiceField(label="Mailbox provider", required=False)
    breaker = forms.ModelChoiceField(Breaker.objects.none(), label="Breaker", empty_label=None)
    reason = forms.CharField(
        label="Reason",
        widget=forms.Textarea(attrs={"rows": 2}),
        max_length=overrides.LONGEST_REASON,
        help_text="Kept in the audit log with your name.",
    )
    end = forms.ChoiceField(label="Ends", required=False)

    def __init__(self, act: Act, sender: Sender, data: Any = None) -> None:
        super().__init__(data, auto_id=f"act-{act.name}-%s")
        unasked = {"status", "provider", "breaker"} - {act.asks}
        unasked |= set() if act.asks_reason else {"reason"}
        unasked |= set() if act.may_end else {"end"}
        for name in unasked:
            del self.fields[name]
        if act.may_end:
            without = [("", act.without_end)] if act.without_end else []
            self.fields["end"] = forms.ChoiceField(
                label="Ends",
                choices=[*without, *ENDS.items()],
                required=not without,
                initial="" if without else "24",
            )
        if act.asks == "provider":
            titles = sorted(directory().titles.items(), key=lambda item: item[1].lower())
            self.fields["provider"] = forms.ChoiceField(
                label="Mailbox provider", choices=[("", "every provider"), *titles], required=False
            )
        if act.asks == "breaker":
            self.fields["breaker"] = _BreakerField(open_breakers_of(sender), label="Breaker", empty_label=None)

    def expires_at(self, now: datetime) -> datetime | None:
        """The end that was chosen; None: none."""
        hours = self.cleaned_data.get("end")
        return now + int(hours) * HOUR if hours else None


class _BreakerField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        """What it holds back."""
        where = f"at {provider_title(obj.provider)}" if obj.provider else "at every provider"
        return f"{where} ({obj.get_state_display()})"


def open_breakers_of(sender: Sender) -> Any:
    """What holds mail of that sender back now."""
    rows = Breaker.objects.filter(kind=sender.kind, sender=sender.name)
    return rows.exclude(state=State.CLOSED).order_by("provider")


def offers(sender: Sender, user: Any, *, now: datetime, returned: tuple[str, ActForm] | None = None) -> list[Offer]:
    """The acts that this person may do to this sender now, those that would change nothing left out."""
    override = _override_of(sender, now)
    standing = IpStanding.objects.filter(pk=sender.name).first() if sender.kind == "ip" else None
    is_held = open_breakers_of(sender).exists()
    found = []
    for act in ACTS:
        if sender.kind not in act.kinds or not user.has_perm(act.permission):
            continue
        is_returned = returned is not None and returned[0] == act.name
        if not is_returned and ((act is LIFT and override is None) or (act is CLOSE and not is_held)):
            continue
        form = returned[1] if returned is not None and is_returned else ActForm(act, sender)
        found.append(Offer(act, form, _now(act, standing, override), is_returned))
    return found


def _override_of(sender: Sender, now: datetime) -> Override | None:
    if sender.kind != "ip":
        return None
    row = Override.objects.filter(sending_ip=sender.name, ended_at=None).first()
    return row if row is not None and (row.expires_at is None or row.expires_at > now) else None


def _now(act: Act, standing: IpStanding | None, override: Override | None) -> str:
    if act not in (QUARANTINE, RELEASE, OVERRIDE, LIFT) or standing is None:
        return ""
    if act is LIFT:
        return f"Its status is {standing.status} now and becomes {standing.automatic_status}."
    ends = " The override in force ends." if override is not None else ""
    return f"Its status is {standing.status} now; the automation says {standing.automatic_status}.{ends}"


# --- what each does --------------------------------------------------------------------------------------------------


def _quarantine(sender: Sender, given: dict[str, Any], user: User, now: datetime) -> Sequence[Told]:
    overrides.quarantine(sender.name, reason=given["reason"], user=user, now=now, expires_at=given["expires_at"])
    return [(messages.SUCCESS, f"{sender.name} is quarantined{_until(given)}.")]


def _release(sender: Sender, given: dict[str, Any], user: User, now: datetime) -> Sequence[Told]:
    overrides.release(sender.name, reason=given["reason"], user=user, now=now, expires_at=given["expires_at"])
    return [(messages.SUCCESS, f"{sender.name} is released{_until(given)}.")]


def _override(sender: Sender, given: dict[str, Any], user: User, now: datetime) -> Sequence[Told]:
    status = Status(given["status"])
    overrides.override(sender.name, status, reason=given["reason"], user=user, now=now, expires_at=given["expires_at"])
    return [(messages.SUCCESS, f"The status of {sender.name} is {status.value}{_until(given)}.")]


def _lift(sender: Sender, given: dict[str, Any], user: User, now: datetime) -> Sequence[Told]:
    row = overrides.lift(sender.name, reason=given["reason"], user=user, now=now)
    return [(messages.SUCCESS, f"The override is lifted. By the automation {sender.name} is {row.status}.")]


def _open(sender: Sender, given: dict[str, Any], user: User, now: datetime) -> Sequence[Told]:
    scope = Scope(sender.kind, sender.name, given["provider"])
    breaker_acts.open_by_hand(scope, reason=given["reason"], user=user, now=now, expires_at=given["expires_at"])
    where = f"at {provider_title(scope.provider)}" if scope.provider else "at every provider"
    return [(messages.SUCCESS, f"The breaker of {sender.name} {where} is open{_until(given)}.")]


def _close(sender: Sender, given: dict[str, Any], user: User, now: datetime) -> Sequence[Told]:
    row = given["breaker"]
    breaker_acts.close_by_hand(row, reason=given["reason"], user=user, now=now, expires_at=given["expires_at"])
    where = f"at {provider_title(row.provider)}" if row.provider else "at every provider"
    return [(messages.SUCCESS, f"The breaker of {sender.name} {where} is closed{_until(given)}.")]


def _look_up(sender: Sender, given: dict[str, Any], user: User, now: datetime) -> Sequence[Told]:
    if not is_public(sender.name):
        raise ValidationError(f"No list can know {sender.name}: it is not public.")
    _, late = blocklists.check_now(sender.kind, sender.name, now=now)
    rows = blocklist_queries.of_subject(sender.kind, sender.name)
    if not rows:
        return [
            (messages.WARNING, "No blocklist is asked. Switch some on, or mend what keeps them from being believed.")
        ]
    pending = {row.blocklist.name for row in rows if row.blocklist_id in late}
    silent = {row.blocklist.name for row in rows if row.result == Result.ERROR} - pending
    answered = len({row.blocklist_id for row in rows}) - len(pending | silent)
    events = ListingEvent.objects.filter(kind=sender.kind, subject=sender.name, at__gte=now).select_related("blocklist")
    changed = [f"{'now on' if row.to_state == 'listed' else 'off'} {row.blocklist.name}" for row in events]
    once = [row.blocklist.name for row in rows if row.pending == "listed" and row.blocklist.name not in silent]
    told = (
        f"{answered} {_lists(answered)} answered. {'Changed: ' + ', '.join(changed) if changed else 'Nothing changed'}."
    )
    if once:
        told += f" Seen listed once, to be confirmed by a second look: {_named(once)}."
    found: list[Told] = [(messages.SUCCESS, told)]
    if silent:
        found.append((messages.WARNING, f"{len(silent)} said nothing: {_named(silent)}."))
    if pending:
        found.append((messages.WARNING, f"No answer in time, still being asked: {_named(pending)}."))
    return found


def _audit(sender: Sender, given: dict[str, Any], user: User, now: datetime) -> Sequence[Told]:
    AuditTarget(kind=sender.kind, name=sender.name).clean()
    try:
        report = audits.audit(sender.kind, sender.name, now=now, user=user)
    except audits.BusyError:
        raise ValidationError(f"{sender.name} is being audited right now.") from None
    if report.score is None:
        return [(messages.WARNING, "Nothing could be checked. Does DNS answer?")]
    problems = f"{report.problems} problem{'' if report.problems == 1 else 's'}"
    unchecked = f", {report.unchecked} could not be checked" if report.unchecked else ""
    return [(messages.SUCCESS, f"Audited: {report.score} of 100, {problems}{unchecked}.")]


def _until(given: dict[str, Any]) -> str:
    at = given.get("expires_at")
    return f" until {at:%Y-%m-%d %H:%M} UTC" if at else ""


def _lists(count: int) -> str:
    return "list" if count == 1 else "lists"


def _named(names: set[str] | list[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - NAMED_LISTS
    return ", ".join(ordered[:NAMED_LISTS]) + (f" and {more} more" if more > 0 else "")


ON_IPS = "reputation.change_ipstanding"
ON_BREAKERS = "reputation.change_breaker"
BOTH = ("ip", "domain")
QUARANTINE = Act(
    name="quarantine",
    title="Quarantine",
    says="The IP is taken out of rotation, whatever its numbers say, until the quarantine ends or is lifted.",
    permission=ON_IPS,
    run=_quarantine,
    may_end=True,
    without_end="when it is lifted",
    is_grave=True,
)
RELEASE = Act(
    name="release",
    title="Release",
    says="The IP counts as healthy, whatever its numbers say, until the end; then the automation decides again.",
    permission=ON_IPS,
    run=_release,
    may_end=True,
)
OVERRIDE = Act(
    name="override",
    title="Override",
    says="The IP has the chosen status, whatever its numbers say, until the override ends or is lifted.",
    permission=ON_IPS,
    run=_override,
    may_end=True,
    without_end="when it is lifted",
    asks="status",
)
LIFT = Act(
    name="lift",
    title="Lift",
    says="The override in force ends and the IP gets the status that the automation has computed.",
    permission=ON_IPS,
    run=_lift,
)
OPEN = Act(
    name="open-breaker",
    title="Open a breaker",
    says="Nothing of its mail passes there, whatever the numbers say, until the end or until it is closed.",
    permission=ON_BREAKERS,
    run=_open,
    kinds=BOTH,
    may_end=True,
    without_end="when it is closed",
    asks="provider",
    is_grave=True,
)
CLOSE = Act(
    name="close-breaker",
    title="Close a breaker",
    says="Its mail flows in full there, whatever the numbers say, until the end; then the automation decides again.",
    permission=ON_BREAKERS,
    run=_close,
    kinds=BOTH,
    may_end=True,
    asks="breaker",
)
LOOK_UP = Act(
    name="look-up",
    title="Look up on blocklists",
    says="Every list that may be asked is asked now, for four seconds at most. An answer stands for its TTL.",
    permission=ON_IPS,
    run=_look_up,
    kinds=BOTH,
    asks_reason=False,
)
AUDIT = Act(
    name="audit",
    title="Audit now",
    says="Its records are looked up in DNS; where the probe is on, its MX hosts are asked. No mail is sent.",
    permission="reputation.change_audittarget",
    run=_audit,
    kinds=BOTH,
    asks_reason=False,
)
ACTS = (QUARANTINE, RELEASE, OVERRIDE, LIFT, OPEN, CLOSE, LOOK_UP, AUDIT)
BY_NAME = {act.name: act for act in ACTS}

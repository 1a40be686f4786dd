"""What people may do about an IP's standing, each after a page that says what will change and asks why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from reputation import overrides
from reputation.domain.policy import Status
from reputation.models import IpStanding, Override
from reputation.models.standing import STATUSES
from telemetry.admin.parts import acting_user


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that can be done to an IP."""

    name: str
    title: str
    text: str
    done: str
    run: Callable[[str, dict[str, Any], User, datetime], IpStanding]
    becomes: Status | None = None
    """The status it leads to; None where the form or the automation decides."""
    asks_status: bool = False
    may_expire: bool = True
    danger: bool = False


def _quarantine(ip: str, given: dict[str, Any], user: User, now: datetime) -> IpStanding:
    return overrides.quarantine(ip, reason=given["reason"], user=user, now=now, expires_at=given["expires_at"])


def _release(ip: str, given: dict[str, Any], user: User, now: datetime) -> IpStanding:
    return overrides.release(ip, reason=given["reason"], user=user, now=now, expires_at=given["expires_at"])


def _override(ip: str, given: dict[str, Any], user: User, now: datetime) -> IpStanding:
    status = Status(given["status"])
    return overrides.override(ip, status, reason=given["reason"], user=user, now=now, expires_at=given["expires_at"])


def _lift(ip: str, given: dict[str, Any], user: User, now: datetime) -> IpStanding:
    return overrides.lift(ip, reason=given["reason"], user=user, now=now)


QUARANTINE = Act(
    name="quarantine",
    title="Quarantine",
    text="The IP is taken out of rotation, whatever its numbers say, until the quarantine expires or is lifted.",
    done="Quarantined",
    run=_quarantine,
    becomes=Status.QUARANTINE,
    danger=True,
)
RELEASE = Act(
    name="release",
    title="Release",
    text="The IP counts as healthy, whatever its numbers say, for 24 hours unless another end is given.",
    done="Released",
    run=_release,
    becomes=Status.HEALTHY,
)
OVERRIDE = Act(
    name="override",
    title="Override the status",
    text="The IP has the chosen status, whatever its numbers say, until the override expires or is lifted.",
    done="Overridden",
    run=_override,
    asks_status=True,
)
LIFT = Act(
    name="lift",
    title="Lift the override",
    text="The override in force ends and the IP gets the status that the automation has computed.",
    done="Lifted",
    run=_lift,
    may_expire=False,
)


class ActForm(forms.Form):
    """Why, and for how long."""

    sending_ip = forms.GenericIPAddressField(label="Sending IP", widget=UnfoldAdminTextInputWidget)
    status = forms.ChoiceField(choices=STATUSES, widget=UnfoldAdminSelectWidget)
    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        max_length=overrides.LONGEST_REASON,
        help_text="Kept in the audit log with your name.",
    )
    expires_at = forms.SplitDateTimeField(
        label="Expires at (UTC)",
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text="Empty: until it is lifted.",
    )

    def __init__(self, act: Act, *args: Any, asks_ip: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not asks_ip:
            del self.fields["sending_ip"]
        if not act.asks_status:
            del self.fields["status"]
        if not act.may_expire:
            del self.fields["expires_at"]
        elif act is RELEASE:
            self.fields["expires_at"].help_text = "Empty: in 24 hours."

    def clean_expires_at(self) -> datetime | None:
        """An end that has passed would be no act at all."""
        moment: datetime | None = self.cleaned_data["expires_at"]
        if moment is not None and moment <= timezone.now():
            raise ValidationError("This moment has passed.")
        return moment


def ask_and_act(
    model_admin: Any, request: HttpRequest, act: Act, rows: Sequence[IpStanding] | None, *, back: str, action: str = ""
) -> HttpResponse:
    """Show what will change and ask why; once that is answered, act on each IP by itself and say what became of it.

    `rows` is None where the form asks for an IP, which may be one that was never seen.
    """
    bound = request.POST if request.method == "POST" and request.POST.get("confirmed") else None
    form = ActForm(act, bound, asks_ip=rows is None)
    if form.is_valid():
        ips = [form.cleaned_data["sending_ip"]] if rows is None else [row.sending_ip for row in rows]
        _act(request, act, ips, form.cleaned_data)
        return redirect(back)
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": act.title if not rows or len(rows) == 1 else f"{act.title}: {len(rows)} sending IPs",
        "text": act.text,
        "headers": ("sending IP", "now", "by the automation", "will be", "override in force"),
        "rows": _changes(act, rows or []),
        "selected": [row.pk for row in rows or []] if action else [],
        "action": action,
        "form": form,
        "verb": act.title,
        "danger": act.danger,
        "back": back,
    }
    return TemplateResponse(request, "admin/confirm.html", context)


def _act(request: HttpRequest, act: Act, ips: Sequence[str], given: dict[str, Any]) -> None:
    done: list[str] = []
    for ip in ips:
        try:
            row = act.run(ip, given, acting_user(request), timezone.now())
        except ValidationError as error:
            messages.error(request, f"{ip}: {' '.join(error.messages)}")
        else:
            done.append(f"{row.sending_ip} ({row.status})")
    if done:
        messages.success(request, f"{act.done}: {', '.join(done)}.")


def _changes(act: Act, rows: Sequence[IpStanding]) -> list[tuple[str, str, str, str, str]]:
    in_force = {
        override.sending_ip: override
        for override in Override.objects.filter(sending_ip__in=[row.pk for row in rows], ended_at=None)
    }

    def becomes(row: IpStanding) -> str:
        if act is LIFT:
            return row.automatic_status if row.pk in in_force else "no change: there is no override"
        return act.becomes.value if act.becomes else "as chosen below"

    return [
        (row.sending_ip, row.status, row.automatic_status, becomes(row), in_words(in_force.get(row.pk))) for row in rows
    ]


def in_words(override: Override | None) -> str:
    """An override in a few words; a dash where there is none."""
    if override is None:
        return "–"
    end = f"until {override.expires_at:%Y-%m-%d %H:%M} UTC" if override.expires_at else "until lifted"
    return f"{override.status} {end}: {override.reason}"

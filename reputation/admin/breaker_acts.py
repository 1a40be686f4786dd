"""What people may do about a breaker, after a page that says what will change and asks why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from reputation.breaker_acts import LONGEST_PROVIDER, close_by_hand, open_by_hand
from reputation.domain.breaker_policy import Scope
from reputation.models import Breaker
from reputation.overrides import LONGEST_REASON
from telemetry.admin.parts import acting_user, is_address


@dataclass(frozen=True, slots=True)
class BreakerAct:
    """Opening or closing."""

    title: str
    text: str
    done: str
    becomes: str
    without_end: str
    danger: bool = False


OPEN = BreakerAct(
    title="Open the breaker",
    text="Nothing of this mail passes, whatever its numbers say, until the end or until it is closed.",
    done="Opened",
    becomes="open",
    without_end="Empty: until it is closed.",
    danger=True,
)
CLOSE = BreakerAct(
    title="Close the breaker",
    text="This mail flows in full, whatever its numbers say, for 24 hours unless another end is given.",
    done="Closed",
    becomes="closed",
    without_end="Empty: in 24 hours.",
)


class BreakerActForm(forms.Form):
    """Why, and for how long."""

    sender = forms.CharField(label="Sending IP or domain", widget=UnfoldAdminTextInputWidget, max_length=255)
    provider = forms.CharField(
        label="Mailbox provider",
        widget=UnfoldAdminTextInputWidget,
        max_length=LONGEST_PROVIDER,
        required=False,
        help_text="Its id, such as google; empty: all of them.",
    )
    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        max_length=LONGEST_REASON,
        help_text="Kept in the audit log with your name.",
    )
    expires_at = forms.SplitDateTimeField(
        label="Expires at (UTC)", required=False, widget=UnfoldAdminSplitDateTimeWidget
    )

    def __init__(self, act: BreakerAct, *args: Any, asks_sender: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["expires_at"].help_text = act.without_end
        if not asks_sender:
            del self.fields["sender"], self.fields["provider"]

    def clean_expires_at(self) -> datetime | None:
        """An end that has passed would be no act at all."""
        moment: datetime | None = self.cleaned_data["expires_at"]
        if moment is not None and moment <= timezone.now():
            raise ValidationError("This moment has passed.")
        return moment


def ask_and_move(
    model_admin: Any,
    request: HttpRequest,
    act: BreakerAct,
    rows: Sequence[Breaker] | None,
    *,
    back: str,
    action: str = "",
) -> HttpResponse:
    """Show what will change and ask why; once that is answered, act on each breaker and say what became of it.

    `rows` is None where the form asks for a sender, which may be one that was never seen.
    """
    bound = request.POST if request.method == "POST" and request.POST.get("confirmed") else None
    form = BreakerActForm(act, bound, asks_sender=rows is None)
    if form.is_valid():
        _act(request, act, rows, form.cleaned_data)
        return redirect(back)
    title = act.title if not rows or len(rows) == 1 else f"{act.title}: {len(rows)} scopes"
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": title,
        "text": act.text,
        "headers": ("scope", "now", "since", "will be"),
        "rows": [
            (str(row.scope), row.get_state_display(), f"{row.since:%Y-%m-%d %H:%M} UTC", act.becomes)
            for row in rows or []
        ],
        "selected": [row.pk for row in rows or []] if action else [],
        "action": action,
        "form": form,
        "verb": act.title,
        "danger": act.danger,
        "back": back,
    }
    return TemplateResponse(request, "admin/confirm.html", context)


def _act(request: HttpRequest, act: BreakerAct, rows: Sequence[Breaker] | None, given: dict[str, Any]) -> None:
    done: list[str] = []
    for target in [_scope(given)] if rows is None else rows:
        try:
            row = _run(act, target, given, request)
        except ValidationError as error:
            messages.error(request, f"{target}: {' '.join(error.messages)}")
        else:
            done.append(str(row.scope))
    if done:
        messages.success(request, f"{act.done}: {', '.join(done)}.")


def _run(act: BreakerAct, target: Breaker | Scope, given: dict[str, Any], request: HttpRequest) -> Breaker:
    reason, expires_at = given["reason"], given["expires_at"]
    user, now = acting_user(request), timezone.now()
    if act is CLOSE and isinstance(target, Breaker):
        return close_by_hand(target, reason=reason, user=user, now=now, expires_at=expires_at)
    scope = target.scope if isinstance(target, Breaker) else target
    return open_by_hand(scope, reason=reason, user=user, now=now, expires_at=expires_at)


def _scope(given: dict[str, Any]) -> Scope:
    sender = given["sender"].strip()
    return Scope("ip" if is_address(sender) else "domain", sender, given["provider"])

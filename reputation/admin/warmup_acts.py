"""What people may do about a warm-up, after a page that says what will change and asks why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from reputation import warmup_acts
from reputation.models import Warmup, WarmupTemplate
from reputation.overrides import LONGEST_REASON
from telemetry.admin.parts import acting_user, is_address


@dataclass(frozen=True, slots=True)
class WarmupAct:
    """One thing that people may do."""

    title: str
    text: str
    done: str
    becomes: str
    run: Callable[..., Warmup]
    asks_days: bool = False
    danger: bool = False


CONFIRM = WarmupAct(
    title="Confirm the warm-up",
    text="It starts today with the first day of what was proposed; what was sent since midnight counts.",
    done="Started",
    becomes="running, day 1",
    run=warmup_acts.confirm,
)
SKIP = WarmupAct(
    title="Skip days",
    text="The window in force goes on with that day’s volume.",
    done="Skipped",
    becomes="another day",
    run=warmup_acts.skip,
    asks_days=True,
)
COMPLETE = WarmupAct(
    title="Complete the warm-up",
    text="The sender counts as warm: nothing of this limits it any longer.",
    done="Completed",
    becomes="completed",
    run=warmup_acts.complete,
)
CANCEL = WarmupAct(
    title="Cancel the warm-up",
    text="Nothing of this limits the sender any longer, and the detection leaves it alone for 30 days.",
    done="Cancelled",
    becomes="cancelled",
    run=warmup_acts.cancel,
    danger=True,
)
START_TEXT = (
    "The sender may be one that was never seen. It begins with today; what was sent since midnight, in the time zone "
    "of its policy, counts."
)


class ReasonForm(forms.Form):
    """Why, and how far."""

    days = forms.IntegerField(
        widget=UnfoldAdminIntegerFieldWidget, initial=1, help_text="Days of the schedule to go on; negative: back."
    )
    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        max_length=LONGEST_REASON,
        help_text="Kept in the audit log with your name.",
    )

    def __init__(self, *args: Any, asks_days: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not asks_days:
            del self.fields["days"]


class StartForm(forms.Form):
    """Whom, by which schedule, from which day on, and why."""

    sender = forms.CharField(label="Sending IP or domain", widget=UnfoldAdminTextInputWidget, max_length=255)
    template = forms.ModelChoiceField(
        queryset=WarmupTemplate.objects.all(), widget=UnfoldAdminSelectWidget, to_field_name="name", initial="default"
    )
    day = forms.IntegerField(
        label="First day", widget=UnfoldAdminIntegerFieldWidget, initial=1, min_value=1, help_text="Of the schedule."
    )
    full_volume = forms.IntegerField(
        widget=UnfoldAdminIntegerFieldWidget,
        required=False,
        min_value=1,
        help_text="Recipients a day once warm; only a template in percent asks for it.",
    )
    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        max_length=LONGEST_REASON,
        help_text="Kept in the audit log with your name.",
    )


def ask_and_start(model_admin: Any, request: HttpRequest, *, back: str) -> HttpResponse:
    """Ask whom to warm up and by what; a mistake is said beside its field."""
    form = StartForm(_answers(request))
    if form.is_valid():
        try:
            row = _start(form.cleaned_data, request)
        except ValidationError as error:
            for field, texts in _by_field(error).items():
                form.add_error(field if field in form.fields else "sender", texts)
        else:
            messages.success(request, f"Started: {row}.")
            return redirect(back)
    return _page(model_admin, request, form, title="Start a warm-up", text=START_TEXT, verb="Start", back=back)


def ask_and_act(
    model_admin: Any, request: HttpRequest, act: WarmupAct, rows: Sequence[Warmup], *, back: str, action: str = ""
) -> HttpResponse:
    """Show what will change and ask why; once that is answered, act on each and say what became of it."""
    form = ReasonForm(_answers(request), asks_days=act.asks_days)
    if form.is_valid():
        _act(request, act, rows, form.cleaned_data)
        return redirect(back)
    return _page(
        model_admin,
        request,
        form,
        title=act.title if len(rows) == 1 else f"{act.title}: {len(rows)} senders",
        text=act.text,
        verb=act.title,
        back=back,
        danger=act.danger,
        headers=("sender", "now", "day", "will be"),
        rows=[(row.sender, row.get_state_display(), f"{row.day} of {row.days}", act.becomes) for row in rows],
        selected=[row.pk for row in rows] if action else [],
        action=action,
    )


def _answers(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" and request.POST.get("confirmed") else None


def _page(model_admin: Any, request: HttpRequest, form: forms.Form, **context: Any) -> HttpResponse:
    frame = {**model_admin.admin_site.each_context(request), "opts": model_admin.opts, "form": form}
    return TemplateResponse(request, "admin/confirm.html", {**frame, **context})


def _act(request: HttpRequest, act: WarmupAct, rows: Sequence[Warmup], given: dict[str, Any]) -> None:
    done: list[str] = []
    for row in rows:
        try:
            done.append(str(act.run(row, user=acting_user(request), now=timezone.now(), **given)))
        except ValidationError as error:
            messages.error(request, f"{row.sender}: {' '.join(error.messages)}")
    if done:
        messages.success(request, f"{act.done}: {', '.join(done)}.")


def _start(given: dict[str, Any], request: HttpRequest) -> Warmup:
    sender = given["sender"].strip()
    return warmup_acts.start(
        "ip" if is_address(sender) else "domain",
        sender,
        given["template"],
        day=given["day"],
        full_volume=given["full_volume"],
        reason=given["reason"],
        user=acting_user(request),
        now=timezone.now(),
    )


def _by_field(error: ValidationError) -> dict[str, list[str]]:
    return error.message_dict if hasattr(error, "error_dict") else {"sender": error.messages}

"""What people say when they open or close a breaker, or move a warm-up: why, and for how long or how far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError

from reputation.admin.warmup_acts import CANCEL, COMPLETE, CONFIRM, SKIP, WarmupAct
from reputation.breaker_acts import LONGEST_PROVIDER
from reputation.domain.warmup_policy import State
from reputation.models import Breaker, Warmup, WarmupTemplate
from reputation.overrides import LONGEST_REASON
from telemetry.mailbox_providers import directory

_REASON_HELP = "Kept in the audit log with your name."


class ReasonForm(forms.Form):
    """Why. `key` makes the ids of the fields differ where a page has several such forms."""

    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 2}), max_length=LONGEST_REASON, help_text=_REASON_HELP
    )

    def __init__(self, data: Any = None, *, key: object = "any", **kwargs: Any) -> None:
        super().__init__(data, auto_id=f"{type(self).__name__.lower()}-{key}-%s", **kwargs)


class ExpiryForm(ReasonForm):
    """Why, and until when."""

    expires_at = forms.DateTimeField(
        label="Until (UTC)", required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"})
    )

    def __init__(self, data: Any = None, *, without_end: str = "Empty: until it is closed.", **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        self.fields["expires_at"].help_text = without_end


class OpenBreakerForm(ExpiryForm):
    """Whose mail to pause, be it somebody who never sent."""

    sender = forms.CharField(label="Sending IP or domain", max_length=255)
    provider = forms.CharField(
        label="Mailbox provider",
        max_length=LONGEST_PROVIDER,
        required=False,
        widget=forms.TextInput(attrs={"list": "gs-providers", "autocomplete": "off"}),
        help_text="Its id, such as google; empty: all of them.",
    )
    field_order = ("sender", "provider", "reason", "expires_at")

    def clean_provider(self) -> str:
        """A known id, or the base domain of an MX host that nobody listed; a typing error would pause nothing."""
        provider: str = self.cleaned_data["provider"].strip().lower()
        if provider and "." not in provider and provider not in directory().titles:
            raise ValidationError("There is no mailbox provider with this id.")
        return provider


class SkipForm(ReasonForm):
    """Why, and how far."""

    days = forms.IntegerField(initial=1, help_text="Of the schedule, to go on; negative: back.")
    field_order = ("days", "reason")


class StartWarmupForm(ReasonForm):
    """Whom to warm up, by which schedule, from which day on, and why."""

    sender = forms.CharField(label="Sending IP or domain", max_length=255)
    template = forms.ModelChoiceField(
        queryset=WarmupTemplate.objects.all(), to_field_name="name", initial="default", empty_label=None
    )
    day = forms.IntegerField(label="First day", initial=1, min_value=1, help_text="Of the schedule.")
    full_volume = forms.IntegerField(
        required=False, min_value=1, help_text="Recipients a day once warm; only a template in percent asks for it."
    )
    field_order = ("sender", "template", "day", "full_volume", "reason")


@dataclass(frozen=True, slots=True)
class ActForm:
    """One thing that may be done: the last part of its address, its button, what it means, what it asks."""

    name: str
    title: str
    text: str
    form: ReasonForm


@dataclass(frozen=True, slots=True)
class OfferedAct:
    """One thing that people do about a warm-up, said as in the admin: its button, in which states, and what it asks."""

    title: str
    act: WarmupAct
    states: tuple[State, ...]
    form: type[ReasonForm] = ReasonForm


WARMUP_ACTS: Final[Mapping[str, OfferedAct]] = {
    "confirm": OfferedAct("Confirm", CONFIRM, (State.PROPOSED,)),
    "skip": OfferedAct("Skip days", SKIP, (State.RUNNING,), SkipForm),
    "complete": OfferedAct("Complete", COMPLETE, (State.RUNNING,)),
    "cancel": OfferedAct("Cancel", CANCEL, (State.PROPOSED, State.RUNNING)),
}
_OPEN = ("Open", "Nothing of this mail passes, whatever its numbers say.", "Empty: until it is closed.")
_CLOSE = ("Close", "This mail flows in full, whatever its numbers say.", "Empty: for 24 hours.")


def breaker_form(act: str, row: Breaker, data: Any = None) -> ExpiryForm:
    """What "open" or "close" asks."""
    without_end = (_OPEN if act == "open" else _CLOSE)[2]
    return ExpiryForm(data, key=f"{act}-{row.pk}", without_end=without_end)


def breaker_acts(row: Breaker, given: Mapping[str, ReasonForm] | None = None) -> list[ActForm]:
    """What may be done about a breaker, the likelier first; `given` are forms that could not be taken."""
    filled = given or {}
    acts = [
        ActForm(name, title, text, filled.get(name) or breaker_form(name, row))
        for name, (title, text, _) in (("open", _OPEN), ("close", _CLOSE))
    ]
    return acts if row.state == "closed" else acts[::-1]


def warmup_act_forms(row: Warmup, given: Mapping[str, ReasonForm] | None = None) -> list[ActForm]:
    """What may be done about a warm-up as it stands; `given` are forms that could not be taken."""
    filled = given or {}
    return [
        ActForm(name, offered.title, offered.act.text, filled.get(name) or offered.form(key=f"{name}-{row.pk}"))
        for name, offered in WARMUP_ACTS.items()
        if row.state in offered.states or name in filled
    ]


def say(form: forms.Form, error: ValidationError) -> None:
    """Put what a service objected to beside the field that it is about."""
    given = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
    for name, texts in given.items():
        field = "sender" if name in ("sending_ip", "sending_domain") else name
        form.add_error(field if field in form.fields else None, texts)

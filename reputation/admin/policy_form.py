"""The form of a policy: percentages, a reason, and the revisions below it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from reputation.admin.revisions import RevisionedForm, RevisionInline
from reputation.domain.policy import percent
from reputation.models import Policy, PolicyRevision
from reputation.policies import NUMBERS


class PercentField(forms.DecimalField):
    """A ratio (0 to 1) that is read and written in percent, exactly."""

    def prepare_value(self, value: Any) -> Any:
        """The ratio in percent; what somebody typed stays as typed."""
        return f"{(value * 100).normalize():f}" if isinstance(value, Decimal) else value

    def to_python(self, value: Any) -> Decimal | None:  # type: ignore[override]
        """The percentage as a ratio."""
        number = super().to_python(value)
        return number / 100 if number is not None and number.is_finite() else number

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        """A browser must not hold the percentage to the limits of the ratio."""
        return {"step": "any"}


class PolicyForm(RevisionedForm):
    """The thresholds, and why they change."""

    class Meta:
        model = Policy
        fields = ("pool", *NUMBERS)

    def clean_window(self) -> timedelta:
        """Counters are per minute."""
        window: timedelta = self.cleaned_data["window"]
        if window % timedelta(minutes=1):
            raise ValidationError("Use whole minutes.")
        return window


def in_words(values: dict[str, str]) -> dict[str, str]:
    """Stored thresholds as they are shown: equal numbers read equal, however many zeros they were stored with."""
    return {
        name.replace("_ratio", "").replace("_", " "): percent(Decimal(value)) if "_ratio_" in name else value
        for name, value in values.items()
    }


class PolicyRevisionInline(RevisionInline):
    """What a policy was, when, by whom and why."""

    model = PolicyRevision
    words = staticmethod(in_words)

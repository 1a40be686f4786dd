"""The form of a breaker policy: percentages, a reason, and the revisions below it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError

from reputation.admin.revisions import RevisionedForm, RevisionInline
from reputation.breaker_policies import NUMBERS
from reputation.domain import breaker_policy as domain
from reputation.domain.policy import percent
from reputation.models import BreakerPolicy, BreakerPolicyRevision

_RATIOS = ("complaint_rate_above", "bounce_rate_above", "confidence", "step_1_share", "step_2_share", "step_3_share")


class BreakerPolicyForm(RevisionedForm):
    """The numbers, and why they change."""

    class Meta:
        model = BreakerPolicy
        fields = ("pool", *NUMBERS)

    def clean(self) -> dict[str, Any]:
        """Refuse numbers that do not fit each other."""
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors:
            try:
                domain.BreakerPolicy(**{name: cleaned[name] for name in NUMBERS if name in cleaned})
            except ValueError as error:
                raise ValidationError(f"{str(error).capitalize()}.") from None
        return cleaned


def in_words(values: dict[str, str]) -> dict[str, str]:
    """Stored numbers as they are shown: equal ones read equal, however many zeros they were stored with."""
    return {
        name.replace("_", " "): percent(Decimal(value)) if name in _RATIOS else value for name, value in values.items()
    }


class BreakerRevisionInline(RevisionInline):
    """What a breaker policy was, when, by whom and why."""

    model = BreakerPolicyRevision
    words = staticmethod(in_words)

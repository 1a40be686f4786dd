"""The form of a breaker policy: percentages, a reason, and the revisions below it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import JSONField, QuerySet, Window
from django.db.models.functions import Lag
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextareaWidget

from reputation.breaker_policies import NUMBERS
from reputation.domain import breaker_policy as domain
from reputation.domain.policy import percent
from reputation.models import BreakerPolicy, BreakerPolicyRevision
from telemetry.admin.parts import ModelForm, ReadOnlyInline, as_list, column

_RATIOS = ("complaint_rate_above", "bounce_rate_above", "confidence", "step_1_share", "step_2_share", "step_3_share")


class BreakerPolicyForm(ModelForm):
    """The numbers, and why they change."""

    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        max_length=500,
        help_text="Why it is as it is now; kept with your name in the revisions.",
    )
    seen_revision = forms.IntegerField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = BreakerPolicy
        fields = ("pool", *NUMBERS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "seen_revision" in self.fields:
            self.fields["seen_revision"].initial = self.instance.revision

    def clean(self) -> dict[str, Any]:
        """Refuse numbers that do not fit each other, and to overwrite what somebody else changed meanwhile."""
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors:
            try:
                domain.BreakerPolicy(**{name: cleaned[name] for name in NUMBERS if name in cleaned})
            except ValueError as error:
                raise ValidationError(f"{str(error).capitalize()}.") from None
        if self.instance.pk is not None:
            now = BreakerPolicy.objects.values_list("revision", flat=True).get(pk=self.instance.pk)
            if cleaned.get("seen_revision") != now:
                raise ValidationError("Somebody changed this policy meanwhile: look at the revisions and try again.")
        return cleaned


class BreakerRevisionInline(ReadOnlyInline):
    """What a breaker policy was, when, by whom and why."""

    model = BreakerPolicyRevision
    fields = ("revision", "changed_at", "who", "reason", "changes")
    readonly_fields = fields
    verbose_name_plural = "revisions"

    def get_queryset(self, request: HttpRequest) -> QuerySet[BreakerPolicyRevision]:
        """Revisions with the values before them, in one query."""
        before = Window(Lag("values"), partition_by="policy", order_by="revision", output_field=JSONField())
        rows: QuerySet[BreakerPolicyRevision] = super().get_queryset(request).select_related("changed_by")
        return rows.annotate(before=before)

    @column("by")
    def who(self, row: BreakerPolicyRevision) -> str:
        """The user; nobody for the defaults."""
        return str(row.changed_by) if row.changed_by else "the product"

    @column("what changed")
    def changes(self, row: Any) -> SafeString:
        """Only what differs from the revision before."""
        if row.before is None:
            return as_list(["first revision"])
        before, after = in_words(row.before), in_words(row.values)
        return as_list(
            [f"{name}: {before.get(name)} → {now}" for name, now in after.items() if before.get(name) != now]
        )


def in_words(values: dict[str, str]) -> dict[str, str]:
    """Stored numbers as they are shown: equal ones read equal, however many zeros they were stored with."""
    return {
        name.replace("_", " "): percent(Decimal(value)) if name in _RATIOS else value for name, value in values.items()
    }

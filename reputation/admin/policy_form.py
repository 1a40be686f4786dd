"""The form of a policy: percentages, a reason, and the revisions below it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import JSONField, QuerySet, Window
from django.db.models.functions import Lag
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextareaWidget

from reputation.domain.policy import percent
from reputation.models import Policy, PolicyRevision
from reputation.policies import NUMBERS
from telemetry.admin.parts import ModelForm, ReadOnlyInline, as_list, column


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


class PolicyForm(ModelForm):
    """The thresholds, and why they change."""

    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        max_length=500,
        help_text="Why it is as it is now; kept with your name in the revisions.",
    )
    seen_revision = forms.IntegerField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = Policy
        fields = ("pool", *NUMBERS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "seen_revision" in self.fields:
            self.fields["seen_revision"].initial = self.instance.revision

    def clean_window(self) -> timedelta:
        """Counters are per minute."""
        window: timedelta = self.cleaned_data["window"]
        if window % timedelta(minutes=1):
            raise ValidationError("Use whole minutes.")
        return window

    def clean(self) -> dict[str, Any]:
        """Refuse to overwrite what somebody else changed meanwhile."""
        cleaned: dict[str, Any] = super().clean() or {}
        if self.instance.pk is not None:
            now = Policy.objects.values_list("revision", flat=True).get(pk=self.instance.pk)
            if cleaned.get("seen_revision") != now:
                raise ValidationError("Somebody changed this policy meanwhile: look at the revisions and try again.")
        return cleaned


class RevisionInline(ReadOnlyInline):
    """What a policy was, when, by whom and why."""

    model = PolicyRevision
    fields = ("revision", "changed_at", "who", "reason", "changes")
    readonly_fields = fields
    verbose_name_plural = "revisions"

    def get_queryset(self, request: HttpRequest) -> QuerySet[PolicyRevision]:
        """Revisions with the values before them, in one query."""
        before = Window(Lag("values"), partition_by="policy", order_by="revision", output_field=JSONField())
        rows: QuerySet[PolicyRevision] = super().get_queryset(request).select_related("changed_by")
        return rows.annotate(before=before)

    @column("by")
    def who(self, row: PolicyRevision) -> str:
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
    """Stored thresholds as they are shown: equal numbers read equal, however many zeros they were stored with."""
    return {
        name.replace("_ratio", "").replace("_", " "): percent(Decimal(value)) if "_ratio_" in name else value
        for name, value in values.items()
    }

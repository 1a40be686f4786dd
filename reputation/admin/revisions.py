"""What the policies of a pool have in common in the admin: a reason for every change, and what each change was."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import DecimalField, JSONField, QuerySet, Window
from django.db.models.functions import Lag
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextareaWidget

from telemetry.admin.filters import TimeFilter
from telemetry.admin.parts import ModelForm, ReadOnlyAdmin, ReadOnlyInline, StandardAdmin, as_list, column


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


class RevisionedForm(ModelForm):
    """A policy's values, and why they change."""

    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        max_length=500,
        help_text="Why it is as it is now; kept with your name in the revisions.",
    )
    seen_revision = forms.IntegerField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "seen_revision" in self.fields:
            self.fields["seen_revision"].initial = self.instance.revision

    def clean(self) -> dict[str, Any]:
        """Refuse to overwrite what somebody else changed meanwhile."""
        cleaned: dict[str, Any] = super().clean() or {}
        if self.instance.pk is not None:
            rows = type(self.instance)._default_manager
            now = rows.values_list("revision", flat=True).get(pk=self.instance.pk)
            if cleaned.get("seen_revision") != now:
                raise ValidationError("Somebody changed this policy meanwhile: look at the revisions and try again.")
        return cleaned


def as_stored(values: dict[str, Any]) -> dict[str, str]:
    """Stored values as they are shown, where nothing better is said."""
    return {name.replace("_", " "): str(value) for name, value in values.items()}


class RevisionInline(ReadOnlyInline):
    """What a policy was, when, by whom and why."""

    words = staticmethod(as_stored)
    """Stored values as they are shown; equal ones must read equal."""
    fields = ("revision", "changed_at", "who", "reason", "changes")
    readonly_fields = fields
    verbose_name_plural = "revisions"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Revisions with the values before them, in one query."""
        before = Window(Lag("values"), partition_by="policy", order_by="revision", output_field=JSONField())
        rows: QuerySet[Any] = super().get_queryset(request).select_related("changed_by")
        annotated: QuerySet[Any] = rows.annotate(before=before)
        return annotated

    @column("by")
    def who(self, row: Any) -> str:
        """The user; nobody for the defaults."""
        return str(row.changed_by) if row.changed_by else "the product"

    @column("what changed")
    def changes(self, row: Any) -> SafeString:
        """Only what differs from the revision before."""
        if row.before is None:
            return as_list(["first revision"])
        before, after = self.words(row.before), self.words(row.values)
        names = [*after, *(name for name in before if name not in after)]
        return as_list(
            [
                f"{name}: {before.get(name, 'none')} → {after.get(name, 'none')}"
                for name in names
                if before.get(name) != after.get(name)
            ]
        )


class RevisionAdmin(ReadOnlyAdmin):
    """All revisions of one kind of policy, newest first."""

    words = staticmethod(as_stored)
    list_display = ("changed_at", "policy", "revision", "changed_by", "reason")
    list_filter = (("changed_at", TimeFilter),)
    list_select_related = ("policy__pool", "changed_by")
    search_fields = ("reason",)
    fields = (("policy", "revision"), ("changed_at", "changed_by"), "reason", "numbers")

    @column("values")
    def numbers(self, row: Any) -> SafeString:
        """As they were from then on."""
        return as_list([f"{name}: {value}" for name, value in self.words(row.values).items()])


class RevisionedAdmin(StandardAdmin):
    """A policy of a pool: it stays with its pool and is never deleted, and every change is a revision."""

    formfield_overrides = {DecimalField: {"form_class": PercentField, "widget": UnfoldAdminDecimalFieldWidget}}
    readonly_fields = ("revision",)
    search_fields = ("pool__name",)
    viewer_fields: tuple[Any, ...] = ()
    """Of the first fieldset, what a viewer sees: not the hidden fields of the form."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A policy stays with its pool."""
        return ("revision",) if obj is None else ("revision", "pool")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """A viewer is not asked why."""
        assert self.fieldsets is not None
        if obj is None or self.has_change_permission(request, obj):
            return self.fieldsets
        without_form = [entry for entry in self.fieldsets if entry[0] not in (None, "Why")]
        return [(None, {"fields": self.viewer_fields}), *without_form]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Ratios are typed in percent and say so."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(db_field, DecimalField) and field is not None:
            field.label = f"{str(db_field.verbose_name).replace(' ratio', '').capitalize()} (%)"
        return field

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Revisions are history."""
        return False

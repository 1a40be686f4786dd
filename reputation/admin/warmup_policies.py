"""Warm-up templates and policies: shown to all who may look, changed with a reason by those who may."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import DecimalField, JSONField, QuerySet, Window
from django.db.models.functions import Lag
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextareaWidget

from reputation.admin.policy_form import PercentField
from reputation.domain.policy import percent
from reputation.models import WarmupPolicy, WarmupPolicyRevision, WarmupTemplate
from reputation.warmup_policies import NUMBERS, as_domain, change_warmup_policy, new_policy
from reputation.warmup_templates import FIELDS, delete_template, save_template
from telemetry.admin.filters import TimeFilter
from telemetry.admin.parts import (
    ModelForm,
    ReadOnlyAdmin,
    ReadOnlyInline,
    StandardAdmin,
    acting_user,
    as_list,
    column,
)


@admin.register(WarmupTemplate)
class WarmupTemplateAdmin(StandardAdmin):
    """Schedules; the built-in ones are to be read, one's own to be edited."""

    list_display = ("name", "days_shown", "from_to", "unit", "builtin", "source")
    list_filter = (("builtin", BooleanRadioFilter),)
    search_fields = ("name", "description", "source")
    readonly_fields = ("builtin",)
    fieldsets = (
        (None, {"fields": (("name", "unit"), "description", ("source", "builtin"))}),
        ("Recipients by day", {"fields": ("amounts", "provider_amounts")}),
        ("Or percent of the full volume", {"fields": ("provider_shares",)}),
    )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A built-in template stays as it is published."""
        return super().has_change_permission(request, obj) and not (obj is not None and obj.builtin)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The same."""
        return super().has_delete_permission(request, obj) and not (obj is not None and obj.builtin)

    def save_model(self, request: HttpRequest, obj: WarmupTemplate, form: Any, change: bool) -> None:
        """With its audit row; what runs keeps its numbers."""
        values = {name: form.cleaned_data[name] for name in FIELDS if name in form.cleaned_data}
        save_template(obj, values, user=acting_user(request))

    def delete_model(self, request: HttpRequest, obj: WarmupTemplate) -> None:
        """With its audit row."""
        delete_template(obj, user=acting_user(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[WarmupTemplate]) -> None:
        """The same for several; built-in ones stay."""
        for row in queryset.filter(builtin=False):
            delete_template(row, user=acting_user(request))

    @column("days")
    def days_shown(self, row: WarmupTemplate) -> int:
        """How many."""
        return row.days

    @column("from and to")
    def from_to(self, row: WarmupTemplate) -> str:
        """The first and the last day."""
        if row.is_in_percent:
            return "percent of the full volume"
        return f"{row.amounts[0]:,} to {row.amounts[-1]:,}"


class WarmupPolicyForm(ModelForm):
    """The numbers, and why they change."""

    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        max_length=500,
        help_text="Why it is as it is now; kept with your name in the revisions.",
    )
    seen_revision = forms.IntegerField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = WarmupPolicy
        fields = ("pool", *NUMBERS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "seen_revision" in self.fields:
            self.fields["seen_revision"].initial = self.instance.revision

    def clean(self) -> dict[str, Any]:
        """Refuse numbers that do not fit each other, and to overwrite what somebody else changed meanwhile."""
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors:
            candidate = WarmupPolicy(**{name: cleaned[name] for name in NUMBERS if name in cleaned})
            try:
                as_domain(candidate)
            except ValueError as error:
                raise ValidationError(f"{str(error).capitalize()}.") from None
        if self.instance.pk is not None:
            now = WarmupPolicy.objects.values_list("revision", flat=True).get(pk=self.instance.pk)
            if cleaned.get("seen_revision") != now:
                raise ValidationError("Somebody changed this policy meanwhile: look at the revisions and try again.")
        return cleaned


class _RevisionInline(ReadOnlyInline):
    """What a warm-up policy was, when, by whom and why."""

    model = WarmupPolicyRevision
    fields = ("revision", "changed_at", "who", "reason", "changes")
    readonly_fields = fields
    verbose_name_plural = "revisions"

    def get_queryset(self, request: HttpRequest) -> QuerySet[WarmupPolicyRevision]:
        """Revisions with the values before them, in one query."""
        before = Window(Lag("values"), partition_by="policy", order_by="revision", output_field=JSONField())
        rows: QuerySet[WarmupPolicyRevision] = super().get_queryset(request).select_related("changed_by")
        return rows.annotate(before=before)

    @column("by")
    def who(self, row: WarmupPolicyRevision) -> str:
        """The user; nobody for the defaults."""
        return str(row.changed_by) if row.changed_by else "the product"

    @column("what changed")
    def changes(self, row: Any) -> SafeString:
        """Only what differs from the revision before."""
        if row.before is None:
            return as_list(["first revision"])
        before, after = _in_words(row.before), _in_words(row.values)
        return as_list(
            [f"{name}: {before.get(name)} → {now}" for name, now in after.items() if before.get(name) != now]
        )


@admin.register(WarmupPolicy)
class WarmupPolicyAdmin(StandardAdmin):
    """How the senders of each pool warm up; every change is a revision."""

    form = WarmupPolicyForm
    inlines = (_RevisionInline,)
    formfield_overrides = {DecimalField: {"form_class": PercentField, "widget": UnfoldAdminDecimalFieldWidget}}
    list_display = ("pool", "revision", "enabled", "on_detection", "ip_template", "domain_template", "time_zone")
    list_select_related = ("pool", "ip_template", "domain_template")
    search_fields = ("pool__name",)
    readonly_fields = ("revision",)
    fieldsets = (
        (None, {"fields": (("pool", "revision"), ("enabled", "time_zone"), "advance_share", "seen_revision")}),
        (
            "Detection",
            {
                "fields": (
                    "on_detection",
                    ("ip_template", "domain_template"),
                    ("new_ip_within", "rewarm_after"),
                    ("domain_idle", "domain_messages_below"),
                )
            },
        ),
        ("Why", {"fields": ("reason",)}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A policy stays with its pool."""
        return ("revision",) if obj is None else ("revision", "pool")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """A viewer is not asked why."""
        if obj is None or self.has_change_permission(request, obj):
            return self.fieldsets
        without_form = [entry for entry in self.fieldsets if entry[0] not in (None, "Why")]
        return [(None, {"fields": ("pool", "revision", "enabled", "time_zone", "advance_share")}), *without_form]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Shares are typed in percent and say so."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(db_field, DecimalField) and field is not None:
            field.label = f"{str(db_field.verbose_name).capitalize()} (%)"
        return field

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Revisions are history."""
        return False

    def save_model(self, request: HttpRequest, obj: WarmupPolicy, form: Any, change: bool) -> None:
        """Change it the one way that keeps a revision; a new policy begins as revision 0, the product's defaults."""
        values = {name: form.cleaned_data[name] for name in NUMBERS if name in form.cleaned_data}
        with transaction.atomic():
            row = obj if change else new_policy(obj.pool)
            saved = change_warmup_policy(row, values, user=acting_user(request), reason=form.cleaned_data["reason"])
        obj.pk, obj.revision = saved.pk, saved.revision


@admin.register(WarmupPolicyRevision)
class WarmupPolicyRevisionAdmin(ReadOnlyAdmin):
    """All revisions, newest first."""

    list_display = ("changed_at", "policy", "revision", "changed_by", "reason")
    list_filter = (("changed_at", TimeFilter),)
    list_select_related = ("policy__pool", "changed_by")
    search_fields = ("reason",)
    fields = (("policy", "revision"), ("changed_at", "changed_by"), "reason", "numbers")

    @column("numbers")
    def numbers(self, row: WarmupPolicyRevision) -> SafeString:
        """As they were from then on."""
        return as_list([f"{name}: {value}" for name, value in _in_words(row.values).items()])


def _in_words(values: dict[str, str]) -> dict[str, str]:
    """Stored numbers as they are shown."""
    return {
        name.replace("_", " "): percent(Decimal(value)) if name == "advance_share" else value
        for name, value in values.items()
    }

"""Blocklists: how each is asked and what its answers mean, and whether it passed its test points."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminURLInputWidget, UnfoldBooleanSwitchWidget

from reputation import blocklists
from reputation.blocklist_book import save_blocklist
from reputation.models import Blocklist, BlocklistCanary, Watermark
from reputation.models.blocklist_shape import valid_key
from telemetry.admin.parts import (
    ModelForm,
    ReadOnlyAdmin,
    StandardAdmin,
    acting_user,
    as_list,
    button,
    column,
    link_to,
)


class BlocklistForm(ModelForm):
    """A list; its key can be set and cleared but never read."""

    new_key = forms.CharField(
        required=False,
        max_length=63,
        validators=[valid_key],
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Kept encrypted and never shown. Empty: it stays, unless the list is asked somewhere else now.",
    )
    delist_url = forms.URLField(
        label="Removal", required=False, max_length=300, assume_scheme="https", widget=UnfoldAdminURLInputWidget
    )
    clear_key = forms.BooleanField(label="Forget the key", required=False, widget=UnfoldBooleanSwitchWidget)

    class Meta:
        model = Blocklist
        fields = "__all__"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "clear_key" in self.fields:
            self.fields["clear_key"].disabled = not self.instance.key_sealed

    def clean(self) -> dict[str, Any]:
        """One of the two, not both; a shipped list keeps its name."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("new_key") and cleaned.get("clear_key"):
            self.add_error("clear_key", "Either set a key or forget it.")
        if self.instance.builtin and "name" in self.changed_data:
            self.add_error("name", "A shipped list keeps its name.")
        return cleaned

    @property
    def key(self) -> str | None:
        """The key to set; empty: forget it; None: as it was."""
        if self.cleaned_data.get("new_key"):
            return str(self.cleaned_data["new_key"])
        return "" if self.cleaned_data.get("clear_key") else None


@admin.register(Blocklist)
class BlocklistAdmin(StandardAdmin):
    """The lists, most important first. One is switched off rather than deleted: what it said is kept."""

    form = BlocklistForm
    list_display = ("name", "operator", "kind", "tier", "weight", "state", "test_points", "shown")
    list_filter = (
        "is_enabled",
        ("tier", ChoicesDropdownFilter),
        ("kind", ChoicesDropdownFilter),
        ("needs", ChoicesDropdownFilter),
    )
    search_fields = ("name", "operator", "zone", "keyed_zone")
    search_help_text = "Part of the name, operator or zone"
    actions_detail = ("try_now",)
    readonly_fields = ("state", "verdicts", "has_key", "look_further", "builtin")
    fieldsets = (
        (None, {"fields": (("name", "is_enabled"), ("operator", "kind"), ("tier", "weight"), ("ipv4", "ipv6"))}),
        ("Now", {"fields": ("state", "verdicts", "look_further")}),
        (
            "How it is asked",
            {
                "fields": (
                    ("zone", "keyed_zone"),
                    "needs",
                    ("resolver", "resolver_port"),
                    ("queries_per_second", "check_every"),
                    ("test_listed", "test_clear"),
                )
            },
        ),
        ("Key", {"fields": ("has_key", "new_key", "clear_key")}),
        ("What answers mean", {"fields": ("match", "listed", "not_listed", "bits", "informational_bits")}),
        ("Removal and terms", {"fields": (("delist_url", "delist_note"), "notes", ("source", "builtin"))}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """A new list has no state yet; a viewer is not asked for a key."""
        fieldsets = list(super().get_fieldsets(request, obj))
        hidden = {"Now"} if obj is None else set() if self.has_change_permission(request, obj) else {"Key"}
        return [entry for entry in fieldsets if entry[0] not in hidden]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Blocklist]:
        """Rows with the verdicts on their test points."""
        return super().get_queryset(request).prefetch_related("canaries")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody here: a list is switched off."""
        return False

    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may change a list may have it asked."""
        return acting_user(request).has_perm("reputation.change_blocklist")

    def save_model(self, request: HttpRequest, obj: Blocklist, form: Any, change: bool) -> None:
        """By the service, which audits it and keeps the key to itself."""
        names = [name for name in form.changed_data if name not in ("new_key", "clear_key")]
        save_blocklist(obj, user=acting_user(request), key=form.key, changed=sorted(names))

    @column("state", words={"asked": "success", "dead": "danger", "not enabled": ""})
    def state(self, row: Blocklist) -> str:
        """Whether it is asked, or why not."""
        return row.why_not_asked or "asked"

    @column("test points", words={"passed": "success", "failed": "danger", "not tried yet": "info"})
    def test_points(self, row: Blocklist) -> str:
        """The worst verdict, as a word."""
        verdicts = [canary.is_good for canary in row.canaries.all()]
        return "not tried yet" if not verdicts else "passed" if all(verdicts) else "failed"

    @column("test points")
    def verdicts(self, row: Blocklist) -> SafeString:
        """Each verdict with its reason."""
        return as_list(
            [
                f"{canary.get_family_display()}: {'passed' if canary.is_good else canary.detail}"
                f" ({canary.asked_at:%Y-%m-%d %H:%M})"
                for canary in row.canaries.all()
            ]
        )

    @column("zone", order="zone")
    def shown(self, row: Blocklist) -> str:
        """What is asked, without the key."""
        return row.shown_zone

    @column("key")
    def has_key(self, row: Blocklist) -> str:
        """Whether one is set; never which."""
        return "set" if row.key_sealed else "none"

    @column("look further")
    def look_further(self, row: Blocklist) -> SafeString:
        """What it says and said."""
        query = {"blocklist__id__exact": row.pk}
        return format_html(
            "{} · {}",
            link_to("reputation_listing_changelist", "what it says", query=query),
            link_to("reputation_listingevent_changelist", "changes", query=query),
        )

    @button("Test now", permission="act", icon="rule")
    def try_now(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the test points."""
        row: Blocklist | None = self.get_object(request, object_id)
        if row is None:
            raise Http404
        if not self.has_act_permission(request, row):
            raise PermissionDenied
        back = reverse("admin:reputation_blocklist_change", args=[row.pk])
        if request.method == "POST":
            _try(request, row)
            self.log_change(request, row, "Test points asked.")
            return redirect(back)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Test now",
            "text": "The list is asked for its test points: what must be listed, and what must not.",
            "headers": ("blocklist", "zone", "state", "test points"),
            "rows": [(row.name, row.shown_zone, self.state(row), self.test_points(row))],
            "verb": "Test now",
            "back": back,
        }
        return TemplateResponse(request, "admin/confirm.html", context)


def _try(request: HttpRequest, row: Blocklist) -> None:
    try:
        found = blocklists.try_list(row, now=timezone.now())
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return
    for canary in found:
        if canary.is_good:
            messages.success(request, f"{canary.get_family_display()}: it lists its test point, and only that.")
        else:
            messages.error(request, f"{canary.get_family_display()}: {canary.detail}.")


@admin.register(BlocklistCanary)
class BlocklistCanaryAdmin(ReadOnlyAdmin):
    """The verdicts on test points."""

    list_display = ("blocklist", "family", "is_good", "error", "detail", "asked_at", "stands_until")
    list_filter = ("is_good",)
    list_select_related = ("blocklist",)
    empty_hint = "The first check of a list writes the first row."


@admin.register(Watermark)
class WatermarkAdmin(ReadOnlyAdmin):
    """Up to where others' rows were read."""

    list_display = ("name", "at")

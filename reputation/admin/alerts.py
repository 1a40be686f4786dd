"""Alerts in the admin: channels and rules to be set up, alerts and deliveries to be looked up."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldBooleanSwitchWidget

from reputation import alert_delivery
from reputation.alert_channels import LONGEST_URL, check_url
from reputation.models import Alert, AlertChannel, AlertDelivery, AlertEvent, AlertRule
from telemetry.admin.filters import ExactFilter, TimeFilter
from telemetry.admin.parts import (
    BoundedPaginator,
    ModelForm,
    ReadOnlyAdmin,
    StandardAdmin,
    acting_user,
    as_json,
    button,
    column,
    link_to,
)

_SEVERITIES = {"critical": "danger", "warning": "warning", "info": "info"}
_DELIVERIES = {"waiting": "info", "sent": "success", "given up": "danger", "not needed any more": ""}


class AlertChannelForm(ModelForm):
    """A channel; its address can be set but never read."""

    new_url = forms.CharField(
        label="Address",
        required=False,
        max_length=LONGEST_URL,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="https://example.com/hook, smtp://user:password@mail.example.com:587?from=alerts@example.com&"
        "to=you@example.com, slack://…, pagerduty://… and others of Apprise. Kept encrypted and never shown. Empty: it "
        "stays.",
    )
    new_key = forms.CharField(
        label="Signing key",
        required=False,
        max_length=200,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="For webhooks: bodies are signed with it. Empty: it stays, unless the address is a new one.",
    )
    clear_key = forms.BooleanField(label="Forget the key", required=False, widget=UnfoldBooleanSwitchWidget)

    class Meta:
        model = AlertChannel
        fields = ("name", "is_enabled", "is_default")

    def clean_new_url(self) -> str:
        """An address that can be used; a new channel needs one."""
        url: str = self.cleaned_data["new_url"]
        if not url:
            if not self.instance.url_sealed:
                raise forms.ValidationError("A channel needs an address.")
            return ""
        return check_url(url)

    def save(self, commit: bool = True) -> AlertChannel:
        """Seal what is secret before the row is written."""
        if self.cleaned_data.get("new_url"):
            self.instance.url, self.instance.key = self.cleaned_data["new_url"], ""
        if self.cleaned_data.get("new_key"):
            self.instance.key = self.cleaned_data["new_key"]
        elif self.cleaned_data.get("clear_key"):
            self.instance.key = ""
        saved: AlertChannel = super().save(commit)
        return saved


@admin.register(AlertChannel)
class AlertChannelAdmin(StandardAdmin):
    """The ways to reach somebody."""

    form = AlertChannelForm
    list_display = ("name", "scheme", "state", "is_default", "last_ok_at", "last_error")
    list_filter = ("is_enabled", "is_default")
    search_fields = ("name", "scheme")
    search_help_text = "Part of the name or way"
    actions_detail = ("send_test",)
    readonly_fields = ("scheme", "state", "last_ok_at", "last_failed_at", "last_error", "has_key", "look_further")
    empty_hint = "Add a channel, and every shipped rule tells it of what is worth an alert."
    fieldsets = (
        (None, {"fields": ("name", ("is_enabled", "is_default"))}),
        ("Now", {"fields": (("scheme", "state"), ("last_ok_at", "last_failed_at"), "last_error", "look_further")}),
        ("Address", {"fields": ("new_url", "has_key", "new_key", "clear_key")}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """A new channel has no state yet; a viewer is not asked for an address."""
        fieldsets = list(super().get_fieldsets(request, obj))
        hidden = {"Now"} if obj is None else set() if self.has_change_permission(request, obj) else {"Address"}
        return [entry for entry in fieldsets if entry[0] not in hidden]

    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may change a channel may send a test to it."""
        return acting_user(request).has_perm("reputation.change_alertchannel")

    @column("state", words={"works": "success", "failing": "danger", "never used": "info", "off": ""})
    def state(self, row: AlertChannel) -> str:
        """How it last fared, as a word."""
        if not row.is_enabled:
            return "off"
        if row.last_error:
            return "failing"
        return "works" if row.last_ok_at else "never used"

    @column("signing key")
    def has_key(self, row: AlertChannel) -> str:
        """Whether one is set; never which."""
        return "set" if row.key_sealed else "none"

    @column("look further")
    def look_further(self, row: AlertChannel) -> SafeString:
        """What it was told."""
        return link_to("reputation_alertdelivery_changelist", "deliveries", query={"channel__id__exact": row.pk})

    @button("Send a test", permission="act", icon="send")
    def send_test(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Send a message that says it is a test."""
        row: AlertChannel | None = self.get_object(request, object_id)
        if row is None:
            raise Http404
        if not self.has_act_permission(request, row):
            raise PermissionDenied
        back = reverse("admin:reputation_alertchannel_change", args=[row.pk])
        if request.method == "POST":
            trouble = alert_delivery.send_test(row, now=timezone.now())
            if trouble:
                messages.error(request, f"It did not arrive: {trouble.replace('_', ' ')}.")
            else:
                messages.success(request, "The other side took the test message.")
            self.log_change(request, row, "Test sent.")
            return redirect(back)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Send a test",
            "text": "A message is sent that says it is a test and nothing is wrong.",
            "headers": ("channel", "way", "state"),
            "rows": [(row.name, row.scheme, self.state(row))],
            "verb": "Send a test",
            "back": back,
        }
        return TemplateResponse(request, "admin/confirm.html", context)


@admin.register(AlertRule)
class AlertRuleAdmin(StandardAdmin):
    """Who is told of what. A shipped rule is switched off rather than deleted: it would come back."""

    list_display = ("name", "kind", "least_severity", "subject", "pool", "is_enabled", "escalate_after", "builtin")
    list_filter = ("is_enabled", ("kind", ChoicesDropdownFilter), ("least_severity", ChoicesDropdownFilter))
    list_select_related = ("pool",)
    search_fields = ("name", "subject")
    search_help_text = "Part of the name or pattern"
    filter_horizontal = ("channels", "escalation_channels")
    readonly_fields = ("builtin",)
    fieldsets = (
        (None, {"fields": (("name", "is_enabled"), ("kind", "least_severity"), ("subject", "pool"), "builtin")}),
        ("Who is told", {"fields": ("channels",)}),
        ("Quiet hours", {"fields": (("quiet_from", "quiet_to"), "zone")}),
        ("Escalation", {"fields": ("escalate_after", "escalation_channels")}),
    )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """One's own rules only."""
        return super().has_delete_permission(request, obj) and obj is not None and not obj.builtin


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """Every alert; people act on the console's page."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_display = ("opened_at", "severity_word", "kind", "subject", "state", "count", "last_at", "acknowledged_by")
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("kind", ChoicesDropdownFilter),
        ("severity", ChoicesDropdownFilter),
        ("opened_at", TimeFilter),
        ("subject", ExactFilter),
    )
    search_fields = ("subject",)
    search_help_text = "Part of an IP, domain or source"
    sortable_by = ()
    empty_hint = "Nothing has been worth an alert yet."
    fieldsets = (
        (None, {"fields": (("severity_word", "kind"), ("subject", "subject_kind"), "sentence", "look_further")}),
        ("State", {"fields": (("state", "count"), ("opened_at", "last_at"), ("acknowledged_at", "acknowledged_by"))}),
        ("End", {"fields": (("resolved_at", "resolved_by"),)}),
        ("Evidence", {"fields": ("seen",)}),
    )

    @column("severity", words=_SEVERITIES)
    def severity_word(self, row: Alert) -> str:
        """The word with its colour."""
        return row.severity

    @column("evidence")
    def seen(self, row: Alert) -> SafeString:
        """The numbers behind it."""
        return as_json(row.evidence)

    @column("look further")
    def look_further(self, row: Alert) -> SafeString:
        """What became of it, and whom it was told."""
        query = {"alert__id__exact": row.pk}
        return format_html(
            "{} · {}",
            link_to("reputation_alertevent_changelist", "what became of it", query=query),
            link_to("reputation_alertdelivery_changelist", "deliveries", query=query),
        )


@admin.register(AlertEvent)
class AlertEventAdmin(ReadOnlyAdmin):
    """What became of alerts, newest first."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_display = ("at", "alert", "news", "severity", "triggered_by", "note")
    list_filter = (("news", ChoicesDropdownFilter), ("at", TimeFilter))
    list_select_related = ("alert",)
    search_fields = ("alert__subject",)
    search_help_text = "Part of an IP, domain or source"
    sortable_by = ()


@admin.register(AlertDelivery)
class AlertDeliveryAdmin(ReadOnlyAdmin):
    """What was sent where, and how it went."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_display = ("created_at", "alert", "news", "channel", "state_word", "attempts", "error", "due_at", "sent_at")
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("channel", RelatedDropdownFilter),
        ("news", ChoicesDropdownFilter),
        ("created_at", TimeFilter),
        ("error", ExactFilter),
    )
    list_select_related = ("alert", "channel", "rule")
    search_fields = ("alert__subject", "channel__name")
    search_help_text = "Part of a subject or a channel's name"
    sortable_by = ()
    empty_hint = "The first alert that a rule has told a channel writes the first row."

    @column("state", words=_DELIVERIES)
    def state_word(self, row: AlertDelivery) -> str:
        """The word with its colour."""
        return str(row.get_state_display())

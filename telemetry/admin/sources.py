"""Sources: who reports to us, how their events are read, and the tokens they carry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldBooleanSwitchWidget

from telemetry import access
from telemetry.admin.networks import NetworksField
from telemetry.admin.parts import ModelForm, ReadOnlyInline, StandardAdmin, acting_user, button, column, link_to
from telemetry.admin.token_pages import STATES, TokenForm, ask_for_token, newest, show_once, token_state
from telemetry.domain.access import AccessKind
from telemetry.domain.vocab import SourceKind
from telemetry.models import Source, SourceToken
from telemetry.tokens import issue_token

# A source that reported nothing for so long is worth a look; what is too long depends on its traffic.
QUIET_AFTER = timedelta(hours=1)


class SourceForm(ModelForm):
    """A source; its signing key can be set and cleared but never read."""

    new_hmac_key = forms.CharField(
        label="New signing key",
        required=False,
        min_length=16,
        max_length=1000,
        strip=True,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="With a key every body needs X-Signature, the base64 HMAC-SHA256 of the body. Kept encrypted and "
        "never shown; at least 16 characters. Empty: the key stays as it is.",
    )
    clear_hmac_key = forms.BooleanField(
        label="Ask for no signature any more", required=False, widget=UnfoldBooleanSwitchWidget
    )
    new_metrics_login = forms.CharField(
        label="New login of the metrics page",
        required=False,
        max_length=200,
        strip=True,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="user:password, where the page asks for it (Basic). Kept encrypted and never shown. Empty: it stays.",
    )
    clear_metrics_login = forms.BooleanField(
        label="The metrics page asks for no login", required=False, widget=UnfoldBooleanSwitchWidget
    )

    allowed_networks = NetworksField(
        required=False,
        help_text="One a line, such as 203.0.113.0/24 or 2001:db8::/32. Reports from anywhere else are answered 403. "
        "Empty: from anywhere.",
    )

    class Meta:
        model = Source
        fields = (
            *("name", "kind", "region", "node", "ip_map", "volume", "metrics_url", "is_active", "notes"),
            *("allowed_networks", "requests_per_minute", "events_per_minute"),
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kind: Any = self.fields.get("kind")
        if kind is not None:  # a viewer's form has no fields
            kind.choices = [choice for choice in kind.choices if choice[0] != SourceKind.SELF_TEST]
        self.fields["clear_hmac_key"].disabled = not self.instance.hmac_key_sealed
        self.fields["clear_metrics_login"].disabled = not self.instance.metrics_login_sealed

    def clean(self) -> dict[str, Any]:
        """One of the two, not both."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("new_hmac_key") and cleaned.get("clear_hmac_key"):
            self.add_error("clear_hmac_key", "Either set a key or clear it.")
        if cleaned.get("new_metrics_login") and cleaned.get("clear_metrics_login"):
            self.add_error("clear_metrics_login", "Either set a login or clear it.")
        return cleaned

    def clean_new_metrics_login(self) -> str:
        """A name and a password."""
        login: str = self.cleaned_data["new_metrics_login"]
        if login and (":" not in login or not login.isprintable()):
            raise ValidationError("Give it as user:password.")
        return login

    def save(self, commit: bool = True) -> Source:
        """Seal key and login before the row is written."""
        if self.cleaned_data.get("clear_metrics_login"):
            self.instance.metrics_login = ""
        elif self.cleaned_data.get("new_metrics_login"):
            self.instance.metrics_login = self.cleaned_data["new_metrics_login"]
        if self.cleaned_data.get("clear_hmac_key"):
            self.instance.hmac_key = ""
        elif self.cleaned_data.get("new_hmac_key"):
            self.instance.hmac_key = self.cleaned_data["new_hmac_key"]
        saved: Source = super().save(commit)
        return saved


class TokenInline(ReadOnlyInline):
    """The source's tokens, newest first, each with its two buttons."""

    model = SourceToken
    fields = ("name", "label", "state", "created_at", "last_used_at", "expires_at", "acts")
    readonly_fields = fields
    verbose_name_plural = "tokens"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Who may not rotate and revoke sees no links to it."""
        may = acting_user(request).has_perm("telemetry.change_source")
        return self.fields if may else [name for name in self.fields if name != "acts"]

    @column("token")
    def name(self, row: SourceToken) -> str:
        """What is visible of it."""
        return str(row)

    @column("state", words=STATES)
    def state(self, row: SourceToken) -> str:
        """Whether it opens anything."""
        return token_state(row)

    @column("")
    def acts(self, row: SourceToken) -> SafeString:
        """Rotate and revoke, each on a page that asks first."""
        if token_state(row) in ("revoked", "expired"):
            return format_html("–")
        rotate, revoke = (link_to(f"telemetry_sourcetoken_{act}", act, row.pk) for act in ("rotate", "revoke"))
        return format_html("{} · {}", rotate, revoke)


@admin.register(Source)
class SourceAdmin(StandardAdmin):
    """Sources. One with events is never deleted, only made inactive: its events and counters name it."""

    form = SourceForm
    inlines = (TokenInline,)
    list_display = ("name", "kind", "region", "node", "state", "last_event_at", "usable_tokens", "signed", "volume")
    list_filter = (
        ("kind", ChoicesDropdownFilter),
        ("volume", ChoicesDropdownFilter),
        "is_active",
    )
    search_fields = ("name", "node", "region", "notes")
    search_help_text = "Part of the name, node, region or notes"
    actions_detail = ("make_token",)
    readonly_fields = ("state", "signed", "last_event_at", "created_at")
    empty_hint = "Connect the first mail server: add a source, make a token for it, then send the curl line shown."
    fieldsets = (
        (None, {"fields": (("name", "kind"), ("region", "node"), ("is_active", "volume"))}),
        ("Now", {"fields": (("state", "last_event_at"), ("signed", "created_at"))}),
        ("Which IP sent", {"fields": ("ip_map",)}),
        ("Signed bodies", {"fields": ("new_hmac_key", "clear_hmac_key")}),
        ("From where, and how much", {"fields": ("allowed_networks", ("requests_per_minute", "events_per_minute"))}),
        ("The server's own counters", {"fields": ("metrics_url", "new_metrics_login", "clear_metrics_login")}),
        ("Notes", {"fields": ("notes",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Source]:
        """Sources with the number of tokens that open something, in one query."""
        usable = Q(tokens__revoked_at=None) & (Q(tokens__expires_at=None) | Q(tokens__expires_at__gt=timezone.now()))
        sources: QuerySet[Source] = super().get_queryset(request).annotate(usable=Count("tokens", filter=usable))
        return sources

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """A new source has no state yet; a viewer is not asked for secrets."""
        fieldsets = list(super().get_fieldsets(request, obj))
        secrets = {"Signed bodies", "The server's own counters"}
        hidden = {"Now"} if obj is None else set() if self.has_change_permission(request, obj) else secrets
        return [entry for entry in fieldsets if entry[0] not in hidden]

    def save_model(self, request: HttpRequest, obj: Source, form: Any, change: bool) -> None:
        """Save, and write down who changed what."""
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            kind = AccessKind.SOURCE_CHANGED if change else AccessKind.SOURCE_ADDED
            access.note_source(kind, obj, access.actor_of(request), form.changed_data, now=timezone.now())

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: a source is made inactive."""
        return False

    def has_manage_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may change sources may make tokens for them."""
        return acting_user(request).has_perm("telemetry.change_source")

    @column("state", words={"reporting": "success", "quiet": "warning", "never reported": "info", "inactive": ""})
    def state(self, row: Source) -> str:
        """Whether events come, as a word."""
        if not row.is_active:
            return "inactive"
        if row.last_event_at is None:
            return "never reported"
        return "quiet" if timezone.now() - row.last_event_at > QUIET_AFTER else "reporting"

    @column("tokens", order="usable")
    def usable_tokens(self, row: Any) -> int:
        """How many of its tokens open something."""
        return int(row.usable)

    @column("signed bodies")
    def signed(self, row: Source) -> str:
        """Whether a key is set; never which."""
        return "yes" if row.hmac_key_sealed else "no"

    @button("Make a token", permission="manage", icon="key")
    def make_token(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for a label and an end, then show the token once with a ready curl line."""
        source: Source | None = self.get_object(request, object_id)
        if source is None:
            raise Http404
        if not self.has_manage_permission(request, source):
            raise PermissionDenied
        form = TokenForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            back = reverse("admin:telemetry_source_change", args=[source.pk])
            return ask_for_token(self, request, form, f"Make a token for {source}", back)
        label, ends = form.cleaned_data["label"], form.cleaned_data["expires_at"]
        clear = issue_token(source, label, expires_at=ends, by=access.actor_of(request))
        self.log_change(request, source, f"Made the token {newest(source.tokens)}.")
        return show_once(self, request, clear, str(source), source=source)

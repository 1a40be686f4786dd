"""KumoMTA: the servers that are told what breakers hold back, and every act there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldBooleanSwitchWidget

from reputation.enforcement import kumomta
from reputation.enforcement.kumomta_api import KumoError
from reputation.models import KumoAct, KumoServer
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

_WORDS = {"suspend": "danger", "renew": "", "lift": "success", "read": "", "test": ""}


class KumoServerForm(ModelForm):
    """A server; its login can be set and cleared but never read."""

    new_login = forms.CharField(
        required=False,
        max_length=200,
        strip=True,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="user:password, where its admin API asks for it (Basic). Kept encrypted and never shown. Empty: it "
        "stays, unless the address becomes one of another host.",
    )
    clear_login = forms.BooleanField(label="It asks for no login", required=False, widget=UnfoldBooleanSwitchWidget)

    class Meta:
        model = KumoServer
        fields = ("name", "url", "source", "named_by", "domain_names", "egress_sources", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._before = KumoServer(url=self.instance.url)
        self.fields["clear_login"].disabled = not self.instance.login_sealed

    def clean(self) -> dict[str, Any]:
        """One of the two, not both."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("new_login") and cleaned.get("clear_login"):
            self.add_error("clear_login", "Either set a login or clear it.")
        return cleaned

    def clean_new_login(self) -> str:
        """A name and a password."""
        login: str = self.cleaned_data["new_login"]
        if login and (":" not in login or not login.isprintable()):
            raise ValidationError("Give it as user:password.")
        return login

    def save(self, commit: bool = True) -> KumoServer:
        """Seal the login before the row is written."""
        if self.cleaned_data.get("new_login"):
            self.instance.login = self.cleaned_data["new_login"]
        elif self.cleaned_data.get("clear_login") or self._before.is_elsewhere(self.instance.url):
            self.instance.login = ""
        saved: KumoServer = super().save(commit)
        return saved


@admin.register(KumoServer)
class KumoServerAdmin(StandardAdmin):
    """Servers. One that was told something is never deleted, only made inactive: its acts name it."""

    form = KumoServerForm
    list_display = ("name", "url", "state", "suspensions", "checked_at", "named_by", "source")
    list_filter = ("is_active", ("source", RelatedDropdownFilter))
    list_select_related = ("source",)
    search_fields = ("name", "url", "error")
    search_help_text = "Part of the name, address or error"
    actions_detail = ("apply_now", "try_connection")
    readonly_fields = ("state", "suspensions", "checked_at", "failures", "error", "has_login", "look_further")
    empty_hint = "Add a KumoMTA and its egress sources, and what breakers hold back is suspended there within seconds."
    fieldsets = (
        (None, {"fields": (("name", "is_active"), ("url", "source"))}),
        ("Now", {"fields": (("state", "checked_at"), ("suspensions", "failures"), "error", "look_further")}),
        ("What it calls things", {"fields": ("named_by", "domain_names", "egress_sources")}),
        ("Login", {"fields": ("has_login", "new_login", "clear_login")}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """A new server has no state yet; a viewer is not asked for a login."""
        fieldsets = list(super().get_fieldsets(request, obj))
        hidden = {"Now"} if obj is None else set() if self.has_change_permission(request, obj) else {"Login"}
        return [entry for entry in fieldsets if entry[0] not in hidden]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: a server is made inactive."""
        return False

    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may change a server may have it called."""
        return acting_user(request).has_perm("reputation.change_kumoserver")

    @column("state", words={"answers": "success", "failing": "danger", "never called": "info", "inactive": ""})
    def state(self, row: KumoServer) -> str:
        """How it was last found, as a word."""
        if not row.is_active:
            return "inactive"
        if row.checked_at is None:
            return "never called"
        return "failing" if row.failures else "answers"

    @column("login")
    def has_login(self, row: KumoServer) -> str:
        """Whether one is set; never which."""
        return "set" if row.login_sealed else "none"

    @column("look further")
    def look_further(self, row: KumoServer) -> SafeString:
        """What it was told."""
        return link_to("reputation_kumoact_changelist", "acts at this server", query={"server__id__exact": row.pk})

    @button("Apply now", permission="act", icon="sync")
    def apply_now(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Tell it what it should hold back, without waiting for the next run."""
        text = "What breakers hold back is suspended there, and suspensions of ours that are over are lifted."
        return self._ask(request, object_id, "Apply now", text, _apply)

    @button("Test connection", permission="act", icon="cable")
    def try_connection(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Read its lists."""
        text = "Its suspensions and ready queues are read; nothing is changed there."
        return self._ask(request, object_id, "Test connection", text, _try)

    def _ask(
        self,
        request: HttpRequest,
        object_id: str,
        title: str,
        text: str,
        act: Callable[[HttpRequest, KumoServer], None],
    ) -> HttpResponse:
        server: KumoServer | None = self.get_object(request, object_id)
        if server is None:
            raise Http404
        if not self.has_act_permission(request, server):
            raise PermissionDenied
        back = reverse("admin:reputation_kumoserver_change", args=[server.pk])
        if request.method == "POST":
            act(request, server)
            self.log_change(request, server, f"{title}.")
            return redirect(back)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "text": text,
            "headers": ("server", "admin API", "state", "suspensions of ours"),
            "rows": [(server.name, server.url, self.state(server), server.suspensions)],
            "verb": title,
            "back": back,
        }
        return TemplateResponse(request, "admin/confirm.html", context)


def _apply(request: HttpRequest, server: KumoServer) -> None:
    done = kumomta.apply(server, now=timezone.now())
    if done.error:
        messages.error(request, f"{done.failed} calls failed. {done.error}")
    for scope, why in done.untold:
        messages.warning(request, f"{scope} is not paused there. {why}")
    if not done.failed:
        messages.success(request, f"{done.suspended} suspended, {done.renewed} renewed, {done.lifted} lifted.")


def _try(request: HttpRequest, server: KumoServer) -> None:
    try:
        messages.success(request, kumomta.try_connection(server, now=timezone.now()))
    except KumoError as error:
        messages.error(request, str(error))


@admin.register(KumoAct)
class KumoActAdmin(ReadOnlyAdmin):
    """Every call, newest first."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_display = ("at", "server", "act_word", "scope", "status", "answer_id", "error")
    list_filter = (
        ("server", RelatedDropdownFilter),
        ("at", TimeFilter),
        ("act", ChoicesDropdownFilter),
        ("sender", ExactFilter),
        ("provider", ExactFilter),
        ("status", ExactFilter),
    )
    list_select_related = ("server",)
    search_fields = ("sender", "answer_id", "error")
    search_help_text = "Part of an IP, domain, suspension's id or error"
    sortable_by = ()
    empty_hint = "The first breaker that opens in a pool that enforces writes the first row."
    fieldsets = (
        (None, {"fields": (("at", "server"), ("act_word", "scope"), ("method", "path"), "after")}),
        ("Sent", {"fields": ("sent",)}),
        ("Answered", {"fields": (("status", "answer_id"), "error")}),
    )

    @column("act", words=_WORDS)
    def act_word(self, row: KumoAct) -> str:
        """What it was for."""
        return row.act

    @column("scope")
    def scope(self, row: KumoAct) -> str:
        """Whose mail, and to whom."""
        return f"{row.sender} at {row.provider}" if row.provider else row.sender or "–"

    @column("after the transition")
    def after(self, row: KumoAct) -> SafeString:
        """The breaker's, which may have gone by age."""
        if row.breaker_event is None:
            return format_html("–")
        return link_to("reputation_breakerevent_change", f"no. {row.breaker_event}", row.breaker_event)

    @column("body")
    def sent(self, row: KumoAct) -> SafeString:
        """As it was sent."""
        return as_json(row.body)

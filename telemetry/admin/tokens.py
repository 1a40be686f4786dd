"""Tokens of sources and of people: made, rotated and revoked here; each is shown once, in the answer that made it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from unfold.contrib.filters.admin import RelatedDropdownFilter

from telemetry import access
from telemetry.admin.parts import MOST_AT_ONCE, ReadOnlyAdmin, acting_user, button, column
from telemetry.admin.token_pages import STATES, ApiTokenForm, ask_for_token, list_of, newest, show_once, token_state
from telemetry.domain.scopes import Scope
from telemetry.models import ApiToken, Source, SourceToken
from telemetry.models.sources import StoredToken
from telemetry.tokens import ROTATION_OVERLAP, issue_api_token, revoke_token, rotate_token


class _TokenAdmin(ReadOnlyAdmin):
    """Looks tokens up; rotates and revokes them. What they are is stored as a prefix and a keyed digest only."""

    actions = ("revoke_selected",)
    actions_detail = ("rotate", "revoke")
    date_hierarchy = "created_at"
    search_fields = ("prefix", "label")
    search_help_text = "Part of the prefix (gs_prefix_…) or of the label"

    @column("token")
    def name(self, row: StoredToken) -> str:
        """What is visible of it."""
        return str(row)

    @column("state", words=STATES)
    def state(self, row: StoredToken) -> str:
        """Whether it opens anything."""
        return token_state(row)

    def has_manage_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether this user may rotate and revoke tokens of this kind."""
        raise NotImplementedError

    def owner_of(self, token: Any) -> Model:
        """The source or user that the token stands for."""
        raise NotImplementedError

    @admin.action(description="Revoke the selected tokens…", permissions=["manage"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Ask, then end them at once."""
        return self._revoke(request, list(queryset[:MOST_AT_ONCE]), action="revoke_selected")

    @button("Rotate", permission="manage", icon="autorenew")
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then make the successor and show it; the old token goes on for a while."""
        token = self._token(request, object_id)
        if token_state(token) in ("revoked", "expired"):
            messages.error(request, f"{token} has ended already; make a new token instead.")
            return redirect(self._page_of(token))
        if request.method != "POST":
            hours = int(ROTATION_OVERLAP.total_seconds() // 3600)
            text = f"A new token is made and shown once. The old one goes on for {hours} hours, so nothing is lost."
            return self._ask(request, "Rotate the token?", text, [token], "Rotate", self._page_of(token))
        clear = rotate_token(token, now=timezone.now(), by=access.actor_of(request))
        self.log_change(request, token, "Rotated.")
        owner = self.owner_of(token)
        return show_once(self, request, clear, str(owner), source=owner if isinstance(owner, Source) else None)

    @button("Revoke", permission="manage", icon="block", danger=True)
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then end it at once."""
        token = self._token(request, object_id)
        return self._revoke(request, [token]) or redirect(self._page_of(token))

    def _revoke(self, request: HttpRequest, tokens: list[Any], action: str = "") -> HttpResponse | None:
        if request.method != "POST" or not request.POST.get("confirmed"):
            text = "Whoever uses it is answered 401 from now on. This cannot be undone."
            return self._ask(request, "Revoke?", text, tokens, "Revoke", list_of(self.opts), action, danger=True)
        for token in tokens:
            revoke_token(token, now=timezone.now(), by=access.actor_of(request))
            self.log_change(request, token, "Revoked.")
        messages.success(request, f"Revoked: {', '.join(str(token) for token in tokens)}.")
        return None

    def _token(self, request: HttpRequest, object_id: str) -> Any:
        token: Any = self.get_object(request, object_id)
        if token is None:
            raise Http404
        if not self.has_manage_permission(request, token):
            raise PermissionDenied
        return token

    def _page_of(self, token: StoredToken) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[token.pk])

    def _ask(
        self,
        request: HttpRequest,
        title: str,
        text: str,
        tokens: list[Any],
        verb: str,
        back: str,
        action: str = "",
        *,
        danger: bool = False,
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "text": text,
            "rows": [(str(token), f"{self.owner_of(token)} {token.label}".strip()) for token in tokens],
            "selected": [token.pk for token in tokens] if action else [],
            "action": action,
            "verb": verb,
            "danger": danger,
            "back": back,
        }
        return TemplateResponse(request, "admin/confirm.html", context)


@admin.register(SourceToken)
class SourceTokenAdmin(_TokenAdmin):
    """The tokens of sources."""

    list_display = ("name", "source", "label", "state", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_filter = (("source", RelatedDropdownFilter), ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("source",)
    fields = (("name", "state"), ("source", "label"), ("created_at", "last_used_at"), ("expires_at", "revoked_at"))
    empty_hint = "No source has a token yet: open a source and press “Make a token”."

    def has_manage_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may change sources."""
        return acting_user(request).has_perm("telemetry.change_source")

    def owner_of(self, token: SourceToken) -> Source:
        """Its source."""
        return token.source


@admin.register(ApiToken)
class ApiTokenAdmin(_TokenAdmin):
    """Tokens that act as a user in the API: one's own; superusers see everybody's."""

    list_display = ("name", "user", "scope", "label", "state", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_filter = (("user", RelatedDropdownFilter), "scope", ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("user",)
    fields = (
        ("name", "state"),
        ("user", "scope", "label"),
        ("created_at", "last_used_at"),
        ("expires_at", "revoked_at"),
    )
    actions_list = ("make",)
    empty_hint = "A script that reads or acts in the API needs a token that acts as you: press “Make a token”."

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        """One's own tokens; all of them for superusers."""
        user = acting_user(request)
        visible = Q() if user.is_superuser else Q(user=user)
        tokens: QuerySet[ApiToken] = super().get_queryset(request).filter(visible)
        return tokens

    def has_manage_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may change API tokens: of their own, because a token acts with its owner's rights; superusers any."""
        user = acting_user(request)
        if not user.has_perm("telemetry.change_apitoken"):
            return False
        return user.is_superuser or not isinstance(obj, ApiToken) or obj.user_id == user.pk

    def owner_of(self, token: ApiToken) -> User:
        """Its user."""
        return token.user

    @button("Make a token", permission="manage", icon="add")
    def make(self, request: HttpRequest) -> HttpResponse:
        """Ask for a scope, a label and an end, then show the token."""
        maker = acting_user(request)
        form = ApiTokenForm(maker, request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return ask_for_token(self, request, form, "Make an API token", list_of(self.opts))
        owner = form.cleaned_data["user"]
        given = form.cleaned_data
        clear = issue_api_token(
            owner,
            given["label"],
            scope=Scope(given["scope"]),
            expires_at=given["expires_at"],
            by=access.actor_of(request),
        )
        self.log_addition(request, newest(owner.api_tokens), "Made.")
        return show_once(self, request, clear, str(owner), source=None)

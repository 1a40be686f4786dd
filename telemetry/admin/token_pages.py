"""The pages around a token: asking for one, showing it once with a command that uses it."""

from __future__ import annotations

import json
import shlex
from datetime import datetime
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextInputWidget

from telemetry.domain.scopes import Scope
from telemetry.domain.vocab import SourceKind
from telemetry.models import Source
from telemetry.models.sources import StoredToken
from telemetry.tokens import ROTATION_OVERLAP

STATES = {"usable": "success", "ends soon": "warning", "expired": "", "revoked": ""}


def token_state(token: StoredToken) -> str:
    """A word for whether the token opens anything."""
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is None:
        return "usable"
    left = token.expires_at - timezone.now()
    return "expired" if left.total_seconds() <= 0 else "ends soon" if left <= ROTATION_OVERLAP else "usable"


class TokenForm(forms.Form):
    """What a new token may be told."""

    label = forms.CharField(
        max_length=100,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Where it is used, for whoever must rotate it.",
    )
    expires_at = forms.SplitDateTimeField(
        label="Expires at (UTC)",
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text="Empty: never.",
    )

    def clean_expires_at(self) -> datetime | None:
        """A token that is over before it is shown helps nobody."""
        moment: datetime | None = self.cleaned_data["expires_at"]
        if moment is not None and moment <= timezone.now():
            raise ValidationError("This moment has passed.")
        return moment


class ApiTokenForm(TokenForm):
    """A token acts as a user; only superusers may make one for somebody else."""

    user = forms.ModelChoiceField(User.objects.none(), widget=UnfoldAdminSelectWidget, empty_label=None)
    scope = forms.ChoiceField(
        choices=[
            (Scope.READ, "read: looks, and changes nothing"),
            (Scope.OPERATE, "operate: acts on senders, as the group operator does"),
            (Scope.ADMIN, "admin: whatever its user may"),
        ],
        initial=Scope.READ,
        widget=UnfoldAdminSelectWidget,
        help_text="A token never may more than its user, whatever its scope.",
    )
    field_order = ("user", "scope", "label", "expires_at")

    def __init__(self, maker: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        owners = User.objects.filter(is_active=True, is_staff=True)
        users: Any = self.fields["user"]
        users.queryset = owners if maker.is_superuser else owners.filter(pk=maker.pk)
        users.initial = maker.pk


def show_once(model_admin: Any, request: HttpRequest, clear: str, owner: str, *, source: Source | None) -> HttpResponse:
    """The page that shows a token; it is an answer to a POST and in no cache, so nobody can call it up again."""
    opts = model_admin.opts
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": opts,
        "title": "The new token",
        "subtitle": owner,
        "token": clear,
        "owner": owner,
        "curl": curl_line(request, clear, source),
        "signed": bool(source and source.hmac_key_sealed),
        "back": reverse("admin:telemetry_source_change", args=[source.pk]) if source else list_of(opts),
    }
    return TemplateResponse(request, "admin/token_shown.html", context, headers={"Cache-Control": "no-store"})


def curl_line(request: HttpRequest, clear: str, source: Source | None) -> str:
    """A command that works as it stands: for a source it reports one refusal, for a person it asks for the sources."""
    header = f'-H "Authorization: Bearer {clear}"'
    if source is None:
        return f"curl {request.build_absolute_uri('/api/dashboard/ip-health')} {header}"
    now = timezone.now().isoformat(timespec="seconds").replace("+00:00", "Z")
    refusal = {"smtp_code": 550, "enhanced_code": "5.7.1"}
    body: object
    if source.kind == SourceKind.GENERIC:
        path = reverse("events")
        event = {"type": "bounce", "occurred_at": now, "event_id": f"try-{now}", "sending_ip": "192.0.2.10"}
        body = [event | {"recipient": "someone@gmail.com", "reply": "refused, for a try"} | refusal]
    else:
        path = reverse("delivery-failure")
        data = {"ip": "192.0.2.10", "recipient": "someone@gmail.com", "reason": "refused, for a try"} | refusal
        body = {"events": [{"id": f"try-{now}", "createdAt": now, "type": "smtp.delivery.failure", "data": data}]}
    sent = shlex.quote(json.dumps(body, separators=(",", ":")))
    return (
        f"curl {request.build_absolute_uri(path)} \\\n"
        f'  {header} \\\n  -H "Content-Type: application/json" \\\n  -d {sent}'
    )


def newest(tokens: Any) -> Any:
    """The token made last."""
    return tokens.order_by("-pk").first()


def ask_for_token(
    model_admin: Any, request: HttpRequest, form: forms.Form, title: str, back: str, text: str = ""
) -> HttpResponse:
    """The page with the form of a new token."""
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": title,
        "text": text or "The token is shown once, on the next page. Only a keyed digest of it is kept.",
        "form": form,
        "media": form.media,
        "verb": "Make the token",
        "back": back,
    }
    return TemplateResponse(request, "admin/confirm.html", context)


def list_of(opts: Any) -> str:
    """The address of a model's list."""
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")

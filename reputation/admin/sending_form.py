"""The form of a sending policy: what each mode means, limits per provider in a table, a reason, the revisions below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget

from reputation.admin.revisions import RevisionedForm, RevisionInline
from reputation.models import ProviderLimit, SendingPolicy, SendingPolicyRevision
from reputation.sending_policies import CAPS, NUMBERS
from telemetry import mailbox_providers
from telemetry.admin.parts import ModelForm, TabularInline

if TYPE_CHECKING:
    FormSet = forms.BaseInlineFormSet[Any, Any, Any]
else:
    FormSet = forms.BaseInlineFormSet

MODE_WORDS = (
    ("observe", "observe: everything passes; what would have been held back is recorded, and nobody is told"),
    ("warn", "warn: everything passes; what would have been held back is also a warning in the mail server's log"),
    ("enforce", "enforce: mail waits or is refused as the rules say"),
)
FAILURE_WORDS = (
    ("open", "open: mail passes while the database or Redis is away"),
    ("closed", "closed: mail is deferred until we can know again"),
)


class SendingPolicyForm(RevisionedForm):
    """The mode and the limits, and why they change."""

    class Meta:
        model = SendingPolicy
        fields = ("pool", *NUMBERS)


class ProviderLimitForm(ModelForm):
    """One line of the table; the provider is chosen, because a misspelt one would limit nothing."""

    provider = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget, label="mailbox provider")

    class Meta:
        model = ProviderLimit
        fields = ("provider", "per_hour", "per_day")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        titles = dict(mailbox_providers.directory().titles)
        if self.instance.provider:
            titles.setdefault(self.instance.provider, self.instance.provider)
        field = self.fields["provider"]
        assert isinstance(field, forms.ChoiceField)
        named = sorted(titles.items(), key=lambda entry: entry[1].lower())
        field.choices = [("", "each one that is not named"), *named]


class ProviderLimitFormSet(FormSet):
    """The table as a whole: what is to be saved goes with the policy, as one revision."""

    def wanted(self) -> list[dict[str, Any]]:
        """The limits as they shall be."""
        kept = [form for form in self.forms if form.cleaned_data and form not in self.deleted_forms]
        return [{name: form.cleaned_data[name] for name in ("provider", "per_hour", "per_day")} for form in kept]


class ProviderLimitInline(TabularInline):
    """The limits per mailbox provider. Whoever may change the policy may change them."""

    model = ProviderLimit
    form = ProviderLimitForm
    formset = ProviderLimitFormSet
    extra = 1
    hide_title = True
    verbose_name_plural = "limits per mailbox provider"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As the policy."""
        return request.user.has_perm("reputation.view_sendingpolicy") or self._may(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As the policy."""
        return self._may(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As the policy."""
        return self._may(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As the policy."""
        return self._may(request)

    def _may(self, request: HttpRequest) -> bool:
        return request.user.has_perm("reputation.change_sendingpolicy")


def in_words(values: dict[str, Any]) -> dict[str, str]:
    """Stored values as they are shown, limits by provider one by one."""
    shown = {name.replace("_", " "): _shown(value) for name, value in values.items() if name != CAPS}
    for provider, (per_hour, per_day) in values.get(CAPS, {}).items():
        shown[f"at {provider}"] = f"{_number(per_hour)} an hour, {_number(per_day)} a day"
    return shown


def _shown(value: str) -> str:
    return {"None": "no limit", "True": "yes", "False": "no"}.get(value, value)


def _number(value: int | None) -> str:
    return "any" if value is None else f"{value:,}"


class SendingRevisionInline(RevisionInline):
    """What a sending policy was, when, by whom and why."""

    model = SendingPolicyRevision
    words = staticmethod(in_words)

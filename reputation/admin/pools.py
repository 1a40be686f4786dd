"""Pools, their sending IPs and domains, and who of a pool takes how much now."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, RelatedDropdownFilter
from unfold.widgets import UnfoldAdminTextInputWidget

from reputation.admin.labels import STATUS_COLOURS, look_further
from reputation.models import BreakerPolicy, Policy, Pool, PoolDomain, SendingIP, SendingPolicy, WarmupPolicy
from reputation.pool_acts import NUMBERS, change_sending_ip, set_domain_pool, unset_domain_pool
from reputation.pools import percent_of, pool_now
from telemetry.admin.filters import ExactFilter, TimeFilter
from telemetry.admin.parts import ModelForm, StandardAdmin, acting_user, column, link_to
from telemetry.domain import clean
from telemetry.domain.errors import ParseError

# What has a history or a meaning of its own; a pool that has one of them stays.
_OF_A_POOL = (Policy, BreakerPolicy, WarmupPolicy, SendingPolicy, PoolDomain)


@admin.register(Pool)
class PoolAdmin(StandardAdmin):
    """Groups of sending IPs that are judged alike and share their mail out."""

    list_display = ("name", "is_default", "ip_count", "domain_count", "mode", "policy_revision", "description")
    list_select_related = ("policy", "sending_policy")
    search_fields = ("name", "description")
    readonly_fields = ("is_default",)
    fields = ("name", "description", "is_default")
    change_form_outer_before_template = "admin/pool_members.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form, and above it who takes how much now."""
        row: Pool | None = self.get_object(request, unquote(object_id))
        shown = {} if row is None else _who_takes(row)
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pool]:
        """Pools with the number of their IPs and domains, in one query."""
        counts = {"ip_count": Count("ips", distinct=True), "domain_count": Count("domains", distinct=True)}
        pools: QuerySet[Pool] = super().get_queryset(request).annotate(**counts)
        return pools

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A pool with IPs, domains or a policy's history stays, and so does the default."""
        allowed = super().has_delete_permission(request, obj)
        if not isinstance(obj, Pool):
            return allowed and obj is not None
        if not allowed or obj.is_default or obj.ips.exists():
            return False
        return not any(model._default_manager.filter(pool=obj).exists() for model in _OF_A_POOL)

    @column("sending IPs", order="ip_count")
    def ip_count(self, row: Any) -> int:
        """How many IPs are in it."""
        return int(row.ip_count)

    @column("sending domains", order="domain_count")
    def domain_count(self, row: Any) -> int:
        """How many domains leave by it."""
        return int(row.domain_count)

    @column("permits")
    def mode(self, row: Pool) -> str:
        """Whether permits bind: its own mode, or the default pool's."""
        return row.sending_policy.mode if hasattr(row, "sending_policy") else "as the default pool"

    @column("policy")
    def policy_revision(self, row: Pool) -> str:
        """Its own policy, or the default pool's."""
        return f"revision {row.policy.revision}" if hasattr(row, "policy") else "the default pool's"


def _who_takes(row: Pool) -> dict[str, Any]:
    """Each sending IP with its share, and why one is out."""
    current = pool_now(row, now=timezone.now())
    members = [
        {
            "member": entry,
            "ip": link_to("reputation_sendingip_change", entry.ip, entry.ip),
            "share": percent_of(entry.share),
            "share_by_weight": percent_of(entry.share_by_weight),
            "colour": STATUS_COLOURS[entry.status.value],
        }
        for entry in current.members
    ]
    return {"pool": current, "members": members}


class SendingIPForm(ModelForm):
    """What an operator says of an IP, and why if they like."""

    reason = forms.CharField(
        widget=UnfoldAdminTextInputWidget,
        max_length=500,
        required=False,
        help_text="Kept in the audit log, beside what changes and your name.",
    )

    class Meta:
        model = SendingIP
        fields = ("ip", *NUMBERS)


@admin.register(SendingIP)
class SendingIPAdmin(StandardAdmin):
    """Sending IPs as their operator knows them."""

    form = SendingIPForm
    list_display = ("ip", "label", "pool", "weight", "is_backup", "transport", "first_seen_at")
    list_filter = (
        ("pool", RelatedDropdownFilter),
        ("is_backup", BooleanRadioFilter),
        ("transport", ExactFilter),
        ("first_seen_at", TimeFilter),
    )
    list_select_related = ("pool",)
    search_fields = ("ip", "label", "transport")
    search_help_text = "Part of an IP, label or transport"
    readonly_fields = ("first_seen_at", "further")
    empty_hint = "Sending IPs appear by themselves with their first event; one can be added before that."

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The IP is what the row is about."""
        return self.readonly_fields if obj is None else ("ip", *self.readonly_fields)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Links once there is something to look at; a viewer is not asked why."""
        about = ["ip", "label"] if obj is None else ["ip", "label", "first_seen_at", "further"]
        sends = [
            (None, {"fields": about}),
            ("How it sends", {"fields": ("pool", ("weight", "is_backup"), "transport")}),
        ]
        may_change = obj is None or self.has_change_permission(request, obj)
        return [*sends, ("Why", {"fields": ("reason",)})] if may_change else sends

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """It would come back with its next event, without its pool."""
        return False

    def save_model(self, request: HttpRequest, obj: SendingIP, form: Any, change: bool) -> None:
        """With an audit row of what changed."""
        values = {name: form.cleaned_data[name] for name in NUMBERS if name in form.cleaned_data}
        with transaction.atomic():
            row = obj if change else SendingIP.objects.create(ip=obj.ip)
            change_sending_ip(row, values, user=acting_user(request), reason=form.cleaned_data["reason"])
        obj._state.adding = False

    @column("look further")
    def further(self, row: SendingIP) -> SafeString:
        """Where else this IP appears."""
        return look_further(row.ip)


class PoolDomainForm(ModelForm):
    """A domain in whatever spelling."""

    class Meta:
        model = PoolDomain
        fields = ("domain", "pool")

    def clean_domain(self) -> str:
        """Its canonical form: lower-case A-labels."""
        try:
            return clean.domain(self.cleaned_data["domain"], "domain")
        except ParseError as error:
            raise ValidationError(f"This {error.message}.") from None


@admin.register(PoolDomain)
class PoolDomainAdmin(StandardAdmin):
    """Which sending domains leave by a pool other than the default one."""

    form = PoolDomainForm
    list_display = ("domain", "pool")
    list_filter = (("pool", RelatedDropdownFilter),)
    list_select_related = ("pool",)
    search_fields = ("domain",)
    search_help_text = "Part of a domain"
    empty_hint = "All sending domains leave by the default pool. Add one to let its mail leave by another."

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Changing a key would make a second row."""
        return () if obj is None else ("domain",)

    def save_model(self, request: HttpRequest, obj: PoolDomain, form: Any, change: bool) -> None:
        """With an audit row."""
        set_domain_pool(obj.domain, obj.pool, user=acting_user(request))
        obj._state.adding = False

    def delete_model(self, request: HttpRequest, obj: PoolDomain) -> None:
        """With an audit row."""
        unset_domain_pool(obj, user=acting_user(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[PoolDomain]) -> None:
        """The same for several."""
        for row in queryset:
            unset_domain_pool(row, user=acting_user(request))

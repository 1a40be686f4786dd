"""Circuit breakers: what is paused, how it came to it, what people may do about it, and the policies behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter

from reputation.admin.breaker_acts import CLOSE, OPEN, BreakerAct, ask_and_move
from reputation.admin.breaker_forms import BreakerPolicyForm, BreakerRevisionInline, in_words
from reputation.admin.revisions import RevisionAdmin, RevisionedAdmin
from reputation.breaker_policies import NUMBERS, change_breaker_policy
from reputation.domain.policy import percent
from reputation.models import Breaker, BreakerEvent, BreakerPolicy, BreakerPolicyRevision
from telemetry.admin.filters import ExactFilter, TimeFilter
from telemetry.admin.parts import (
    MOST_AT_ONCE,
    BoundedPaginator,
    ReadOnlyAdmin,
    ReadOnlyInline,
    acting_user,
    as_json,
    button,
    column,
    link_to,
)

STATE_COLOURS = {"closed": "success", "half-open": "warning", "open": "danger"}


class _EventInline(ReadOnlyInline):
    """How a breaker came to what it is, newest first."""

    model = BreakerEvent
    fields = ("at", "from_state", "to_state", "step", "trigger", "notes", "triggered_by")
    readonly_fields = fields
    verbose_name_plural = "transitions"
    per_page = 20


@admin.register(Breaker)
class BreakerAdmin(ReadOnlyAdmin):
    """Breakers, those that changed last first, and the two things that people may do about them."""

    list_display = ("sender", "at_provider", "state_label", "since", "reopen_at", "trigger_words", "hold", "pauses")
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("kind", ChoicesDropdownFilter),
        ("provider", ExactFilter),
        ("trigger", ChoicesDropdownFilter),
        ("held", BooleanRadioFilter),
        ("since", TimeFilter),
    )
    search_fields = ("sender", "reason")
    search_help_text = "Part of an IP, domain or reason"
    actions = ("close_selected", "open_selected")
    actions_list = ("open_any",)
    actions_detail = ("open_this", "close_this")
    inlines = (_EventInline,)
    empty_hint = "No sender was ever paused. Complaints, bounces or a provider's block open a breaker; so may you."
    fieldsets = (
        (None, {"fields": (("sender", "at_provider"), ("state_label", "since"), "reason", "look_further")}),
        (
            "How it goes on",
            {"fields": (("step", "reopen_at"), ("trigger_words", "pauses"), ("paused_at", "hold"))},
        ),
    )

    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may act; the row itself stays read-only for everybody."""
        return acting_user(request).has_perm("reputation.change_breaker")

    @column("mailbox provider", order="provider")
    def at_provider(self, row: Breaker) -> str:
        """Whose mailboxes it is about."""
        return row.provider or "all"

    @column("state", order="state", words=STATE_COLOURS)
    def state_label(self, row: Breaker) -> str:
        """Whether mail flows."""
        return row.get_state_display()

    @column("opened by", order="trigger")
    def trigger_words(self, row: Breaker) -> str:
        """What opened it last."""
        return row.get_trigger_display() or "–"

    @column("a person's word")
    def hold(self, row: Breaker) -> str:
        """Who decided, and until when."""
        if not row.held:
            return "–"
        return (
            f"{row.held_by} until {row.held_until:%Y-%m-%d %H:%M} UTC" if row.held_until else f"{row.held_by}, no end"
        )

    @column("look further")
    def look_further(self, row: Breaker) -> SafeString:
        """Where else this scope appears."""
        audit = link_to("reputation_auditentry_changelist", "audit log", query={"q": str(row.scope)})
        events = link_to("telemetry_sendingevent_changelist", "events", query={"q": row.sender})
        return format_html("{} · {}", audit, events)

    @admin.action(description="Close…", permissions=["act"])
    def close_selected(self, request: HttpRequest, queryset: QuerySet[Breaker]) -> HttpResponse:
        """Several breakers, one reason."""
        return self._selected(request, CLOSE, "close_selected")

    @admin.action(description="Open…", permissions=["act"])
    def open_selected(self, request: HttpRequest, queryset: QuerySet[Breaker]) -> HttpResponse:
        """Several breakers, one reason."""
        return self._selected(request, OPEN, "open_selected")

    @button("Pause a sender", permission="act", icon="block")
    def open_any(self, request: HttpRequest) -> HttpResponse:
        """A sender that is not in the list yet."""
        return ask_and_move(self, request, OPEN, None, back=reverse("admin:reputation_breaker_changelist"))

    @button("Open", permission="act", icon="block", danger=True)
    def open_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """This breaker."""
        return self._one(request, OPEN, object_id)

    @button("Close", permission="act", icon="lock_open")
    def close_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """This breaker."""
        return self._one(request, CLOSE, object_id)

    def _selected(self, request: HttpRequest, act: BreakerAct, action: str) -> HttpResponse:
        # By key and not by the filtered list: a breaker that moved while the reason was written is still meant.
        keys = [key for key in request.POST.getlist(ACTION_CHECKBOX_NAME) if key.isdecimal()][:MOST_AT_ONCE]
        rows: Sequence[Breaker] = list(Breaker.objects.filter(pk__in=keys))
        return ask_and_move(self, request, act, rows, back=request.get_full_path(), action=action)

    def _one(self, request: HttpRequest, act: BreakerAct, object_id: str) -> HttpResponse:
        row: Breaker | None = self.get_object(request, object_id)
        if row is None:
            raise Http404
        back = reverse("admin:reputation_breaker_change", args=[row.pk])
        return ask_and_move(self, request, act, [row], back=back)


@admin.register(BreakerEvent)
class BreakerEventAdmin(ReadOnlyAdmin):
    """Every transition of every breaker, newest first."""

    date_hierarchy = "at"
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_display = ("at", "breaker_scope", "from_label", "to_label", "step", "trigger_words", "triggered_by", "notes")
    list_filter = (
        ("at", TimeFilter),
        ("to_state", ChoicesDropdownFilter),
        ("trigger", ChoicesDropdownFilter),
        ("automated", BooleanRadioFilter),
    )
    list_select_related = ("breaker",)
    search_fields = ("breaker__sender", "notes", "triggered_by")
    search_help_text = "Part of an IP, domain, note or user name"
    sortable_by = ()
    empty_hint = "The first breaker that opens writes the first row."
    fieldsets = (
        (
            None,
            {"fields": (("at", "breaker_scope"), ("from_label", "to_label"), ("step", "trigger_words"), "notes")},
        ),
        ("Evidence", {"fields": (("value", "threshold"), ("volume", "bound"), "details")}),
        (
            "Times and who",
            {"fields": (("paused_at", "resumed_at"), ("reopen_at", "triggered_by"), "policy_revision")},
        ),
    )

    @column("breaker")
    def breaker_scope(self, row: BreakerEvent) -> SafeString:
        """The sender and provider."""
        return link_to("reputation_breaker_change", row.breaker.scope, row.breaker_id)

    @column("from", words=STATE_COLOURS)
    def from_label(self, row: BreakerEvent) -> str:
        """The state before."""
        return row.get_from_state_display()

    @column("to", words=STATE_COLOURS)
    def to_label(self, row: BreakerEvent) -> str:
        """The state after."""
        return row.get_to_state_display()

    @column("trigger")
    def trigger_words(self, row: BreakerEvent) -> str:
        """What moved it."""
        return row.get_trigger_display()

    @column("details")
    def details(self, row: BreakerEvent) -> SafeString:
        """What else was known."""
        return as_json(row.evidence)


@admin.register(BreakerPolicy)
class BreakerPolicyAdmin(RevisionedAdmin):
    """When the breakers of each pool open and how they close; every change is a revision."""

    form = BreakerPolicyForm
    inlines = (BreakerRevisionInline,)
    list_display = ("pool", "revision", "enabled", "complaints", "bounces", "block_refusals", "pauses")
    list_select_related = ("pool",)
    viewer_fields = ("pool", "revision", "enabled", "window")
    fieldsets = (
        (None, {"fields": (("pool", "revision"), ("enabled", "window"), "seen_revision")}),
        (
            "Opens",
            {
                "fields": (
                    ("minimum_volume", "confidence"),
                    ("complaint_rate_above", "complaints_from", "bounce_rate_above"),
                    ("block_refusals", "block_within"),
                )
            },
        ),
        (
            "Resumes",
            {
                "fields": (
                    ("first_pause", "longest_pause", "healthy_after"),
                    ("step_1_share", "step_2_share", "step_3_share"),
                    ("step_minimum", "block_step_minimum"),
                )
            },
        ),
        ("Why", {"fields": ("reason",)}),
    )

    def save_model(self, request: HttpRequest, obj: BreakerPolicy, form: Any, change: bool) -> None:
        """Change it the one way that keeps a revision; a new policy begins as revision 0, the product's defaults."""
        values = {name: form.cleaned_data[name] for name in NUMBERS if name in form.cleaned_data}
        with transaction.atomic():
            row = obj if change else BreakerPolicy.objects.create(pool=obj.pool, revision=0)
            saved = change_breaker_policy(row, values, user=acting_user(request), reason=form.cleaned_data["reason"])
        obj.pk, obj.revision = saved.pk, saved.revision

    @column("complaints")
    def complaints(self, row: BreakerPolicy) -> str:
        """The rule in short."""
        return f"> {percent(row.complaint_rate_above)} of ≥ {row.minimum_volume}"

    @column("bounces")
    def bounces(self, row: BreakerPolicy) -> str:
        """The rule in short."""
        return f"> {percent(row.bounce_rate_above)} of ≥ {row.minimum_volume}"

    @column("pauses")
    def pauses(self, row: BreakerPolicy) -> str:
        """The first and the longest."""
        return f"{row.first_pause} to {row.longest_pause}"


@admin.register(BreakerPolicyRevision)
class BreakerPolicyRevisionAdmin(RevisionAdmin):
    """All revisions, newest first."""

    words = staticmethod(in_words)

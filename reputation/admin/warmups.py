"""Warm-ups: who warms up and how far it is, how it came to it, and what people may do about it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter

from reputation import warmup_detection
from reputation.admin.labels import STATUS_COLOURS
from reputation.admin.warmup_acts import CANCEL, COMPLETE, CONFIRM, SKIP, WarmupAct, ask_and_act, ask_and_start
from reputation.domain.warmup import Unit
from reputation.models import Warmup, WarmupEvent
from reputation.warmup_progress import day_lines, in_words, today
from telemetry.admin.filters import ExactFilter, TimeFilter
from telemetry.admin.parts import (
    MOST_AT_ONCE,
    BoundedPaginator,
    ReadOnlyAdmin,
    ReadOnlyInline,
    acting_user,
    button,
    column,
    link_to,
)

STATE_COLOURS = {"proposed": "info", "running": "warning", "completed": "success", "cancelled": ""}


class _EventInline(ReadOnlyInline):
    """How a warm-up came to what it is, newest first."""

    model = WarmupEvent
    fields = ("at", "step", "from_day", "to_day", "on_date", "used", "planned", "standing", "notes", "triggered_by")
    readonly_fields = fields
    verbose_name_plural = "transitions"
    per_page = 20


@admin.register(Warmup)
class WarmupAdmin(ReadOnlyAdmin):
    """Warm-ups, those that were made last first."""

    list_display = ("sender", "state_label", "progress", "volume", "on_date", "template_name", "found_words")
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("kind", ChoicesDropdownFilter),
        ("found", ChoicesDropdownFilter),
        ("template", ExactFilter),
        ("created_at", TimeFilter),
    )
    search_fields = ("sender", "reason")
    search_help_text = "Part of an IP, domain or reason"
    actions = ("confirm_selected", "complete_selected", "cancel_selected")
    actions_list = ("start_any", "detect_now")
    actions_detail = ("confirm_this", "skip_this", "complete_this", "cancel_this")
    inlines = (_EventInline,)
    empty_hint = "Nobody warms up. New sending IPs and cold domains are looked for daily; or start one by hand."
    fieldsets = (
        (None, {"fields": (("sender", "state_label"), ("so_far", "window"), "reason", "look_further")}),
        ("Planned and used", {"fields": ("by_day",)}),
        (
            "How it goes on",
            {"fields": (("template_name", "time_zone"), ("found_words", "on_date"), ("started_at", "ended_at"))},
        ),
    )

    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may act; the row itself stays read-only for everybody."""
        return acting_user(request).has_perm("reputation.change_warmup")

    @column("state", order="state", words=STATE_COLOURS)
    def state_label(self, row: Warmup) -> str:
        """Where it is in its life."""
        return row.get_state_display()

    @column("day", order="day")
    def progress(self, row: Warmup) -> str:
        """How far it is."""
        return f"{row.day} of {row.days}"

    @column("volume")
    def volume(self, row: Warmup) -> str:
        """What it may send."""
        return f"{row.limit:,} {'an hour' if row.unit == Unit.HOUR else 'a day'}"

    @column("schedule", order="template")
    def template_name(self, row: Warmup) -> str:
        """The template it was copied from."""
        return row.template or "its own"

    @column("begun by", order="found")
    def found_words(self, row: Warmup) -> str:
        """Why it was detected."""
        return row.get_found_display() or "a person"

    @column("so far")
    def so_far(self, row: Warmup) -> str:
        """How far it is, and what was used today."""
        return in_words(row, today([row], now=timezone.now()).get(row.pk))

    @column("window in force")
    def window(self, row: Warmup) -> str:
        """The local day or hour, in UTC."""
        current = today([row], now=timezone.now()).get(row.pk)
        return f"{current.plan.starts:%Y-%m-%d %H:%M} to {current.plan.ends:%Y-%m-%d %H:%M} UTC" if current else "–"

    @column("by day")
    def by_day(self, row: Warmup) -> SafeString:
        """The schedule, with the last judgement of each day."""
        lines = (
            (
                "→ " if line.is_current else "",
                line.day,
                f"{line.planned:,}",
                f"{line.used:,}" if line.used is not None else "–",
                f"{line.standing or 'not judged'}, {line.outcome} ({line.on_date})" if line.on_date else "–",
            )
            for line in day_lines(row)
        )
        heads = format_html_join("", '<th scope="col">{}</th>', ((head,) for head in _HEADS))
        body = format_html_join("", "<tr><td>{}{}</td>" + "<td>{}</td>" * (len(_HEADS) - 1) + "</tr>", lines)
        return format_html(
            '<div class="overflow-x-auto"><table class="gs-table"><thead><tr>{}</tr></thead>'
            "<tbody>{}</tbody></table></div>",
            heads,
            body,
        )

    @column("look further")
    def look_further(self, row: Warmup) -> SafeString:
        """Where else this sender appears."""
        audit = link_to("reputation_auditentry_changelist", "audit log", query={"q": row.sender})
        breakers = link_to("reputation_breaker_changelist", "breakers", query={"q": row.sender})
        events = link_to("telemetry_sendingevent_changelist", "events", query={"q": row.sender})
        return format_html("{} · {} · {}", audit, breakers, events)

    @admin.action(description="Confirm…", permissions=["act"])
    def confirm_selected(self, request: HttpRequest, queryset: QuerySet[Warmup]) -> HttpResponse:
        """Several proposals, one reason."""
        return self._selected(request, CONFIRM, "confirm_selected")

    @admin.action(description="Complete…", permissions=["act"])
    def complete_selected(self, request: HttpRequest, queryset: QuerySet[Warmup]) -> HttpResponse:
        """Several warm-ups, one reason."""
        return self._selected(request, COMPLETE, "complete_selected")

    @admin.action(description="Cancel…", permissions=["act"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Warmup]) -> HttpResponse:
        """Several warm-ups or proposals, one reason."""
        return self._selected(request, CANCEL, "cancel_selected")

    @button("Start a warm-up", permission="act", icon="local_fire_department")
    def start_any(self, request: HttpRequest) -> HttpResponse:
        """A sender that is not in the list yet."""
        return ask_and_start(self, request, back=reverse("admin:reputation_warmup_changelist"))

    @button("Look for new senders", permission="act", icon="search")
    def detect_now(self, request: HttpRequest) -> HttpResponse:
        """Instead of waiting for the next daily look."""
        made = warmup_detection.detect(now=timezone.now())
        messages.success(request, f"Proposed or started: {made}." if made else "No new or cold sender was found.")
        return redirect(reverse("admin:reputation_warmup_changelist"))

    @button("Confirm", permission="act", icon="check")
    def confirm_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """This proposal."""
        return self._one(request, CONFIRM, object_id)

    @button("Skip days", permission="act", icon="fast_forward")
    def skip_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """This warm-up."""
        return self._one(request, SKIP, object_id)

    @button("Complete", permission="act", icon="done_all")
    def complete_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """This warm-up."""
        return self._one(request, COMPLETE, object_id)

    @button("Cancel", permission="act", icon="close", danger=True)
    def cancel_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """This warm-up or proposal."""
        return self._one(request, CANCEL, object_id)

    def _selected(self, request: HttpRequest, act: WarmupAct, action: str) -> HttpResponse:
        # By key and not by the filtered list: one that moved while the reason was written is still meant.
        keys = [key for key in request.POST.getlist(ACTION_CHECKBOX_NAME) if key.isdecimal()][:MOST_AT_ONCE]
        rows = list(Warmup.objects.filter(pk__in=keys))
        return ask_and_act(self, request, act, rows, back=request.get_full_path(), action=action)

    def _one(self, request: HttpRequest, act: WarmupAct, object_id: str) -> HttpResponse:
        row: Warmup | None = self.get_object(request, object_id)
        if row is None:
            raise Http404
        return ask_and_act(self, request, act, [row], back=reverse("admin:reputation_warmup_change", args=[row.pk]))


_HEADS = ("Day", "Planned", "Used", "Judged")


@admin.register(WarmupEvent)
class WarmupEventAdmin(ReadOnlyAdmin):
    """Every transition of every warm-up, newest first."""

    date_hierarchy = "at"
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_display = ("at", "sender", "step_words", "days", "of_planned", "standing_label", "triggered_by", "notes")
    list_filter = (
        ("at", TimeFilter),
        ("step", ChoicesDropdownFilter),
        ("standing", ChoicesDropdownFilter),
        ("automated", BooleanRadioFilter),
    )
    list_select_related = ("warmup",)
    search_fields = ("warmup__sender", "notes", "triggered_by")
    search_help_text = "Part of an IP, domain, note or user name"
    sortable_by = ()
    empty_hint = "The first warm-up writes the first row."
    fieldsets = (
        (None, {"fields": (("at", "sender"), ("step_words", "days"), ("from_state", "to_state"), "notes")}),
        ("What was judged", {"fields": (("on_date", "standing_label"), ("used", "planned"))}),
        ("Who", {"fields": (("triggered_by", "policy_revision"),)}),
    )

    @column("warm-up")
    def sender(self, row: WarmupEvent) -> SafeString:
        """The sender."""
        return link_to("reputation_warmup_change", row.warmup.sender, row.warmup_id)

    @column("step")
    def step_words(self, row: WarmupEvent) -> str:
        """What happened."""
        return row.get_step_display()

    @column("day")
    def days(self, row: WarmupEvent) -> str:
        """From which to which."""
        return f"{row.from_day} → {row.to_day}" if row.from_day != row.to_day else str(row.to_day)

    @column("used of planned")
    def of_planned(self, row: WarmupEvent) -> str:
        """The two numbers of a judged day."""
        return f"{row.used:,} of {row.planned:,}" if row.used is not None and row.planned is not None else "–"

    @column("standing", words=STATUS_COLOURS)
    def standing_label(self, row: WarmupEvent) -> str:
        """The worst of that day."""
        return row.standing or "–"

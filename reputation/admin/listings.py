"""What blocklists say of sending IPs and domains, and every believed change."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter

from reputation import blocklists
from reputation.domain.dnsbl import is_public
from reputation.models import Listing, ListingEvent
from telemetry.admin.filters import ExactFilter, TimeFilter
from telemetry.admin.parts import (
    MOST_AT_ONCE,
    BoundedPaginator,
    ReadOnlyAdmin,
    acting_user,
    button,
    column,
)

_RESULTS = {"listed": "danger", "clean": "success", "error": "warning", "never asked": "info"}
_STATES = {"listed": "danger", "clean": "success", "unknown": ""}


@admin.register(Listing)
class ListingAdmin(ReadOnlyAdmin):
    """One row for each list and IP or domain."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_display = ("subject", "blocklist", "tier", "state_word", "look", "sublist", "meaning", "since", "asked_at")
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("result", ChoicesDropdownFilter),
        ("error", ChoicesDropdownFilter),
        ("severity", ChoicesDropdownFilter),
        ("blocklist", RelatedDropdownFilter),
        ("kind", ChoicesDropdownFilter),
        ("subject", ExactFilter),
        ("since", TimeFilter),
    )
    list_select_related = ("blocklist",)
    search_fields = ("subject", "meaning", "text")
    search_help_text = "Part of an IP, domain, meaning or the list's words"
    actions = ("look_up_selected",)
    actions_detail = ("look_up_now",)
    empty_hint = "The first IP that sends is looked up within a minute."
    fieldsets = (
        (None, {"fields": (("subject", "blocklist"), ("state_word", "since"), ("pending", "seen"))}),
        ("Last look", {"fields": (("look", "asked_at"), ("error", "detail"), ("took", "fresh_until"), "failures")}),
        ("What it says", {"fields": (("answers", "sublist"), ("meaning", "severity"), "text", "removal")}),
        ("Next", {"fields": ("due_at",)}),
    )

    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may act on an IP may have it looked up."""
        return acting_user(request).has_perm("reputation.change_ipstanding")

    @column("tier", order="blocklist__tier")
    def tier(self, row: Listing) -> str:
        """Of the list."""
        return row.blocklist.tier

    @column("believed", order="state", words=_STATES)
    def state_word(self, row: Listing) -> str:
        """What two looks agreed on."""
        return row.state

    @column("last look", order="result", words=_RESULTS)
    def look(self, row: Listing) -> str:
        """What the last one said."""
        return row.result or "never asked"

    @column("sublists")
    def sublist(self, row: Listing) -> str:
        """Of the list."""
        return ", ".join(row.sublists) or "–"

    @column("answers")
    def answers(self, row: Listing) -> str:
        """The addresses that came back."""
        return ", ".join(row.codes) or "–"

    @column("removal")
    def removal(self, row: Listing) -> SafeString:
        """Where to ask for it."""
        return _removal(row.blocklist.delist_url, row.blocklist.delist_note)

    @admin.action(description="Look up soon", permissions=["act"])
    def look_up_selected(self, request: HttpRequest, queryset: QuerySet[Listing]) -> None:
        """Make the chosen pairs due; workers ask them within a minute."""
        keys = list(queryset.order_by("pk").values_list("pk", flat=True)[:MOST_AT_ONCE])
        due = Listing.objects.filter(pk__in=keys).update(due_at=timezone.now())
        messages.success(request, f"{due} are asked within the next minute, where a worker runs.")

    @button("Look up now", permission="act", icon="travel_explore")
    def look_up_now(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """This IP or domain on every list."""
        row: Listing | None = self.get_object(request, object_id)
        if row is None:
            raise Http404
        if not self.has_act_permission(request, row):
            raise PermissionDenied
        back = reverse("admin:reputation_listing_change", args=[row.pk])
        if request.method == "POST":
            _look_up(request, row)
            return redirect(back)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Look up {row.subject} now",
            "text": "Every list that may be asked is asked, for four seconds at most. An answer stands for its TTL.",
            "verb": "Look up now",
            "back": back,
        }
        return TemplateResponse(request, "admin/confirm.html", context)


def _look_up(request: HttpRequest, row: Listing) -> None:
    if not is_public(row.subject):
        messages.error(request, f"No list can know {row.subject}.")
        return
    ran, late = blocklists.check_now(row.kind, row.subject, now=timezone.now())
    messages.success(request, f"{ran.asked} lists were asked, {ran.changes} changes are believed.")
    if late:
        messages.warning(request, f"{len(late)} did not answer in time and are still being asked.")


@admin.register(ListingEvent)
class ListingEventAdmin(ReadOnlyAdmin):
    """Every believed change, newest first."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_display = ("at", "subject", "blocklist", "tier", "from_word", "to_word", "sublist", "meaning", "severity")
    list_filter = (
        ("at", TimeFilter),
        ("to_state", ChoicesDropdownFilter),
        ("tier", ExactFilter),
        ("blocklist", RelatedDropdownFilter),
        ("kind", ChoicesDropdownFilter),
        ("subject", ExactFilter),
    )
    list_select_related = ("blocklist",)
    search_fields = ("subject", "meaning", "text")
    search_help_text = "Part of an IP, domain, meaning or the list's words"
    sortable_by = ()
    empty_hint = "A listing that two looks agree on writes the first row."
    fieldsets = (
        (None, {"fields": (("at", "subject"), ("blocklist", "tier"), ("from_word", "to_word"))}),
        ("What it said", {"fields": (("answers", "sublist"), ("meaning", "severity"), "text")}),
    )

    @column("from", words=_STATES)
    def from_word(self, row: ListingEvent) -> str:
        """What was believed before."""
        return row.from_state

    @column("to", words=_STATES)
    def to_word(self, row: ListingEvent) -> str:
        """What is believed since."""
        return row.to_state

    @column("sublists")
    def sublist(self, row: ListingEvent) -> str:
        """Of the list."""
        return ", ".join(row.sublists) or "–"

    @column("answers")
    def answers(self, row: ListingEvent) -> str:
        """The addresses that came back."""
        return ", ".join(row.codes) or "–"


def _removal(url: str, note: str) -> SafeString:
    if not url:
        return format_html("{}", note or "–")
    link = format_html('<a class="text-primary-600 dark:text-primary-500" rel="noopener" href="{}">{}</a>', url, url)
    return format_html("{} {}", link, note)

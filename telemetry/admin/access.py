"""The access log: who came in, by what, and who was kept out."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from telemetry.admin.filters import TimeFilter
from telemetry.admin.parts import HugeTableAdmin, column
from telemetry.csv_files import csv_answer
from telemetry.domain.access import AccessKind
from telemetry.models import AccessRecord

_COLOURS = {
    AccessKind.LOGIN_FAILED: "warning",
    AccessKind.LOCKED_OUT: "danger",
    AccessKind.SECOND_FACTOR_FAILED: "warning",
    AccessKind.SECOND_FACTOR_REMOVED: "warning",
    AccessKind.REFUSED_BY_SCOPE: "warning",
    AccessKind.REFUSED_BY_ADDRESS: "danger",
    AccessKind.TOKEN_REVOKED: "info",
}


@admin.register(AccessRecord)
class AccessRecordAdmin(HugeTableAdmin):
    """One row for each thing that happened at a door; for admins only."""

    list_display = ("at", "what", "who", "token", "address", "detail")
    list_filter = (("kind", ChoicesDropdownFilter), ("at", TimeFilter))
    fields = (("at", "kind"), ("who", "token"), ("address", "detail"))
    date_hierarchy = "at"
    exact_ip = "address"
    exact_texts = ("who", "token")
    search_help_text = "An exact name, token prefix or address"
    actions = ("download_selected",)
    empty_hint = "Nobody has logged in, and no token was made or used since this log began."

    @column("what", order="kind", words={kind.words: _COLOURS.get(kind, "") for kind in AccessKind})
    def what(self, row: AccessRecord) -> str:
        """The kind, in words."""
        return AccessKind(row.kind).words

    @admin.action(description="Download the selected as CSV", permissions=["view"])
    def download_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase:
        """The selected rows, or all that the filters leave, newest first."""
        names = ("at", "kind", "who", "token", "address", "detail")
        rows = queryset.order_by("-id").values_list(*names)
        return csv_answer("access-log", names, rows.iterator())

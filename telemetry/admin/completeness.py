"""What mail servers counted themselves: read-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from unfold.contrib.filters.admin import RelatedDropdownFilter

from telemetry.admin.filters import TimeFilter
from telemetry.admin.parts import HugeTableAdmin, ReadOnlyAdmin, column
from telemetry.completeness import line_of
from telemetry.models import CompletenessReading, MetricsWatch

_HINT = "Give a Stalwart source its metrics page, and its counters are compared every minute with what arrived."


@admin.register(CompletenessReading)
class CompletenessReadingAdmin(HugeTableAdmin):
    """Servers' counters beside ours, newest first."""

    list_display = (
        "start",
        "end",
        "source",
        "arrived_share",
        "server_delivered",
        "arrived_delivered",
        "server_refused",
        "server_bounced",
        "arrived_failed",
        "restarted",
        "is_hour",
    )
    list_filter = (("source", RelatedDropdownFilter), ("end", TimeFilter), "restarted")
    list_select_related = ("source",)
    search_fields = ()
    exact_ip = ""
    empty_hint = _HINT

    @column("arrived")
    def arrived_share(self, row: Any) -> str:
        """Arrived deliveries of the server's, in percent; a dash where it counted none."""
        share = line_of(row).delivered_share
        return "–" if share is None else f"{100 * share:.1f} %"


@admin.register(MetricsWatch)
class MetricsWatchAdmin(ReadOnlyAdmin):
    """How the reading of each metrics page goes."""

    list_display = ("source", "state", "read_at", "tried_at", "failures", "error", "volume_ip")
    list_select_related = ("source",)
    search_fields = ("source__name", "error")
    fields = (("source", "url"), ("state", "failures"), ("read_at", "tried_at"), "error", "values", "volume_ip")
    readonly_fields = ("state",)
    empty_hint = _HINT

    @column("state", words={"read": "success", "failing": "danger"})
    def state(self, row: MetricsWatch) -> str:
        """Whether it can be read."""
        return "failing" if row.error else "read"

"""Counters by minute, hour and day: read-only, newest first."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from unfold.contrib.filters.admin import RelatedDropdownFilter

from telemetry.admin.filters import BucketFilter, ExactFilter
from telemetry.admin.parts import HugeTableAdmin, column
from telemetry.models import RefusalDay, RefusalHour, RefusalMinute, TrafficDay, TrafficHour, TrafficMinute

_REPORT = "Counters appear with the first reported event: make a source and a token, then send its curl line."
_ROLLED_UP = "Rows appear here when minutes are rolled up, every five minutes."


class _TrafficAdmin(HugeTableAdmin):
    list_display = (
        "bucket",
        "sending_ip",
        "sending_domain_or_unknown",
        "provider",
        "source",
        "delivered",
        "bounced",
        "deferred",
        "superseded",
        "complained",
    )
    list_filter = (("bucket", BucketFilter), ("provider", ExactFilter), ("source", RelatedDropdownFilter))
    list_select_related = ("source",)
    exact_texts = ("sending_domain",)
    search_help_text = "An exact sending IP or sending domain"

    @column("sending domain")
    def sending_domain_or_unknown(self, row: Any) -> str:
        """The domain; a source may not tell it."""
        return row.sending_domain or "unknown"


class _RefusalAdmin(HugeTableAdmin):
    list_display = (
        "bucket",
        "sending_ip",
        "sending_domain",
        "recipient_domain",
        "provider",
        "code",
        "cause",
        "count",
    )
    list_filter = (
        ("bucket", BucketFilter),
        ("provider", ExactFilter),
        ("code", ExactFilter),
        ("cause", ExactFilter),
    )
    exact_texts = ("sending_domain", "recipient_domain", "code")
    search_help_text = "An exact sending IP, domain or code"


@admin.register(TrafficMinute)
class TrafficMinuteAdmin(_TrafficAdmin):
    """Traffic of the last two days."""

    empty_hint = _REPORT


@admin.register(TrafficHour, TrafficDay)
class TrafficRolledUpAdmin(_TrafficAdmin):
    """Traffic rolled up."""

    empty_hint = _ROLLED_UP


@admin.register(RefusalMinute)
class RefusalMinuteAdmin(_RefusalAdmin):
    """Refusals of the last two days."""

    empty_hint = "Nothing was refused, or nothing was reported yet."


@admin.register(RefusalHour, RefusalDay)
class RefusalRolledUpAdmin(_RefusalAdmin):
    """Refusals rolled up."""

    empty_hint = _ROLLED_UP

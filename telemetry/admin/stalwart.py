"""What the Stalwart webhook keeps between two batches, for whoever wonders where an outcome is."""

from __future__ import annotations

from django.contrib import admin
from unfold.contrib.filters.admin import RelatedDropdownFilter

from telemetry.admin.parts import HugeTableAdmin, ReadOnlyAdmin
from telemetry.models import StalwartConnect, StalwartHeld, UnusedEventType


@admin.register(StalwartConnect)
class StalwartConnectAdmin(HugeTableAdmin):
    """Connections of delivery attempts, kept until their outcomes can no longer come."""

    list_display = ("span", "source", "local_ip", "mx_host", "domain", "occurred_at")
    list_filter = (("source", RelatedDropdownFilter),)
    list_select_related = ("source",)
    ordering = ("-id",)
    exact_ip = "local_ip"
    exact_texts = ("span",)
    empty_hint = "Connections appear here when a Stalwart server reports to /api/webhooks/stalwart."


@admin.register(StalwartHeld)
class StalwartHeldAdmin(HugeTableAdmin):
    """Outcomes that wait for their connection, or for what else is said of the attempt; acknowledged and safe."""

    list_display = ("span", "source", "received_at", "due_at")
    list_filter = (("source", RelatedDropdownFilter),)
    list_select_related = ("source",)
    ordering = ("-id",)
    exact_ip = ""
    exact_texts = ("span",)
    empty_hint = "Nothing waits: every outcome that Stalwart reported has been recorded."


@admin.register(UnusedEventType)
class UnusedEventTypeAdmin(ReadOnlyAdmin):
    """Types of event that come for nothing; leave them out of the server's list to save its work and ours."""

    list_display = ("name", "source", "count", "first_at", "last_at")
    list_filter = (("source", RelatedDropdownFilter),)
    list_select_related = ("source",)
    search_fields = ("name",)

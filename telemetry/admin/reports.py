"""Mails that were handed in as reports and could not be read as one."""

from __future__ import annotations

from django.contrib import admin
from unfold.contrib.filters.admin import RelatedDropdownFilter

from telemetry.admin.filters import TimeFilter
from telemetry.admin.parts import ReadOnlyAdmin
from telemetry.models import UnknownReport


@admin.register(UnknownReport)
class UnknownReportAdmin(ReadOnlyAdmin):
    """To be looked at: a format worth adding, or a mail that went to the wrong address."""

    list_display = ("received_at", "source", "why", "sender", "subject", "content_type", "times")
    list_filter = (("received_at", TimeFilter), ("source", RelatedDropdownFilter))
    list_select_related = ("source",)
    search_fields = ("sender", "subject", "why", "message_id")
    search_help_text = "Part of the sender, the subject, the message id or the reason"
    date_hierarchy = "received_at"
    empty_hint = "Every mail that was handed in as a report could be read as one."
    fieldsets = (
        ("Why it is here", {"fields": ("why",)}),
        ("The mail", {"fields": (("sender", "message_id"), "subject", ("content_type", "size"), "raw")}),
        ("How it came", {"fields": (("source", "times"), ("received_at", "last_received_at"))}),
    )

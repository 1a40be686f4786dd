"""The audit log."""

from __future__ import annotations

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation.api.serializers import AuditEntrySerializer
from reputation.models import AuditEntry
from telemetry.api.common import (
    ApiView,
    IpField,
    NewestFirst,
    PeriodQuery,
    between,
    documented,
    equal,
    page_of,
    query_of,
)


class AuditQuery(PeriodQuery):
    """Filters of the audit log."""

    sending_ip = IpField(required=False)
    subject = serializers.CharField(required=False)
    action = serializers.CharField(required=False, help_text="Such as status_change, quarantine or release.")
    new = serializers.CharField(required=False, help_text="The new status.")
    triggered_by = serializers.CharField(required=False, help_text="“automated”, or a user's name.")


class AuditLog(ApiView):
    """What people and the automation did, and why."""

    @documented(
        "audit log",
        "audit_log_list",
        "List the audit log",
        answers={200: AuditEntrySerializer},
        query=AuditQuery,
        pages=NewestFirst,
    )
    def get(self, request: Request) -> Response:
        """Rows that are written once and never edited, newest first."""
        query = query_of(request, AuditQuery)
        rows = between(AuditEntry.objects.select_related("judgement"), "at", query)
        rows = equal(rows, query, ("sending_ip", "subject", "action", "new", "triggered_by"))
        return page_of(request, rows, AuditEntrySerializer, NewestFirst)

"""The access log."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from telemetry.api.common import ApiView, NewestFirst, PeriodQuery, between, documented, equal, page_of, query_of
from telemetry.domain.access import AccessKind
from telemetry.models import AccessRecord


class AccessRecordSerializer(serializers.ModelSerializer[AccessRecord]):
    """One thing that happened at a door. Names are text: they stay when the user, source or token goes."""

    class Meta:
        model = AccessRecord
        fields = ["id", "at", "kind", "who", "token", "address", "detail"]


class AccessQuery(PeriodQuery):
    """Filters of the access log."""

    kind = serializers.ChoiceField(choices=[kind.value for kind in AccessKind], required=False)
    who = serializers.CharField(required=False, help_text="Name of the user or source.")
    token = serializers.CharField(required=False, help_text="Prefix of the token.")
    address = serializers.IPAddressField(required=False)


class AccessLog(ApiView):
    """Who came in, by what, and who was kept out. For admins."""

    read_permission = "telemetry.view_accessrecord"

    @documented(
        "access",
        "access_list",
        "Show the access log",
        answers={200: AccessRecordSerializer},
        query=AccessQuery,
        pages=NewestFirst,
    )
    def get(self, request: Request) -> Response:
        """Rows, the last first."""
        query: dict[str, Any] = query_of(request, AccessQuery)
        rows = between(AccessRecord.objects.all(), "at", query)
        return page_of(
            request, equal(rows, query, ("kind", "who", "token", "address")), AccessRecordSerializer, NewestFirst
        )

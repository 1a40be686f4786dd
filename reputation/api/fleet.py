"""The fleet at a glance."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import queries
from reputation.api.serializers import AuditEntrySerializer, IpSerializer
from reputation.models import IpStanding
from telemetry.api.common import ApiView, Query, documented, query_of

MOST_CHANGES = 100


class FleetQuery(Query):
    """How much to show."""

    limit = serializers.IntegerField(min_value=1, max_value=1000, default=100, help_text="IPs, worst first.")


class FleetSerializer(serializers.Serializer[Any]):
    """All sending IPs at a glance."""

    computed_at = serializers.DateTimeField(
        allow_null=True, help_text="When the latest standing was computed; null before the first."
    )
    total = serializers.IntegerField(help_text="Sending IPs in all.")
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="Sending IPs by status.")
    ips = IpSerializer(many=True, help_text="Worst first.")
    changes = AuditEntrySerializer(many=True, help_text="Status changes of the last 24 hours, newest first.")


class IpHealth(ApiView):
    """What an operator looks at first."""

    @documented(
        "dashboard",
        "dashboard_ip_health",
        "Show the health of all sending IPs",
        answers={200: FleetSerializer},
        query=FleetQuery,
    )
    def get(self, request: Request) -> Response:
        """Counts by status, the worst IPs with their numbers, what changed in the last 24 hours."""
        query = query_of(request, FleetQuery)
        fleet = queries.fleet(now=timezone.now(), most_changes=MOST_CHANGES)
        worst = IpStanding.objects.order_by(*queries.WORST_FIRST)[: query["limit"]]
        answer = {
            "computed_at": fleet.computed_at,
            "total": sum(fleet.counts.values()),
            "counts": fleet.counts,
            "ips": queries.with_surroundings(worst),
            "changes": fleet.changes,
        }
        return Response(FleetSerializer(answer).data)

"""Sending IPs as their operator knows them: pool, weight, backup, transport. How they stand is under /api/ips."""

from __future__ import annotations

from django.db.models import Q
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation.api.pools import TAG, PoolNameField
from reputation.models import SendingIP
from reputation.pool_acts import NUMBERS, change_sending_ip
from telemetry.api.common import (
    ApiView,
    Query,
    RowBody,
    body_of,
    documented,
    equal,
    ip_in_path,
    page_of,
    person,
    query_of,
)
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.pagination import Pages


class SendingIpSerializer(serializers.ModelSerializer[SendingIP]):
    """A sending IP; its pool is null where it is in none, and then it is the default pool's."""

    pool = serializers.CharField(source="pool.name", allow_null=True, default=None)

    class Meta:
        model = SendingIP
        fields = ["ip", "label", "pool", "weight", "is_backup", "transport", "first_seen_at"]


class SendingIpChangeSerializer(RowBody[SendingIP]):
    """New values, and why."""

    pool = PoolNameField(required=False, allow_null=True, help_text="A pool's name; null: the default pool.")
    reason = serializers.CharField(required=False, default="", max_length=500, help_text="Kept in the audit log.")

    class Meta:
        model = SendingIP
        fields = ["reason", *NUMBERS]
        extra_kwargs = {name: {"required": False} for name in NUMBERS}


class SendingIpQuery(Query):
    """Filters of the list."""

    pool = PoolNameField(required=False, help_text="A pool's name; IPs in no pool are the default pool's.")
    is_backup = serializers.BooleanField(required=False, allow_null=True, default=None)
    transport = serializers.CharField(required=False, help_text="Exactly.")


class SendingIps(ApiView):
    """All sending IPs."""

    @documented(
        TAG,
        "sending_ips_list",
        "List sending IPs with pool, weight and transport",
        answers={200: SendingIpSerializer},
        query=SendingIpQuery,
        pages=Pages,
    )
    def get(self, request: Request) -> Response:
        """By address. How they stand: /api/ips."""
        query = query_of(request, SendingIpQuery)
        rows = SendingIP.objects.exclude(ip=UNKNOWN_IP).select_related("pool").order_by("ip")
        rows = equal(rows, query, ("transport",))
        if query["is_backup"] is not None:
            rows = rows.filter(is_backup=query["is_backup"])
        if "pool" in query:
            rows = rows.filter(Q(pool=query["pool"]) | (Q(pool=None) if query["pool"].is_default else Q()))
        return page_of(request, rows, SendingIpSerializer)


class SendingIpByAddress(ApiView):
    """One sending IP."""

    write_permission = "reputation.change_sendingip"

    @documented(
        TAG,
        "sending_ips_retrieve",
        "Show a sending IP's pool, weight and transport",
        answers={200: SendingIpSerializer},
        problems=[400, 404],
    )
    def get(self, request: Request, ip: str) -> Response:
        """As its operator knows it."""
        return Response(SendingIpSerializer(_known(ip)).data)

    @documented(
        TAG,
        "sending_ips_update",
        "Change a sending IP's pool, weight or transport",
        answers={200: SendingIpSerializer},
        body=SendingIpChangeSerializer,
        problems=[404],
    )
    def patch(self, request: Request, ip: str) -> Response:
        """Set the given values; permits go by them a second later. Audited."""
        row, values = _known(ip), body_of(request, SendingIpChangeSerializer)
        reason = values.pop("reason")
        change_sending_ip(row, values, user=person(request), reason=reason)
        return Response(SendingIpSerializer(_known(ip)).data)


def _known(ip: str) -> SendingIP:
    return get_object_or_404(SendingIP.objects.select_related("pool"), pk=ip_in_path(ip))

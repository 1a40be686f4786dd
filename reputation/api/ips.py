"""Sending IPs: where they stand, why, and what happened to them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django.db.models import F
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema_field
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import queries
from reputation.api.serializers import AuditEntrySerializer, IpHistorySerializer, IpSerializer, ReputationSerializer
from reputation.domain.policy import IssueType, Status
from reputation.models import AuditEntry, IpStanding, IpStandingHistory, Pool
from telemetry.api.common import (
    ApiView,
    DomainField,
    NewestFirst,
    PeriodQuery,
    Query,
    between,
    documented,
    equal,
    ip_in_path,
    page_of,
    page_parameters,
    query_of,
)
from telemetry.api.events import SendingEventSerializer, with_code
from telemetry.counters import last_minutes
from telemetry.domain.vocab import EventType
from telemetry.pagination import Pages
from telemetry.queries import failures
from telemetry.refusals import refusal_sums

_ORDERINGS = {
    "worst": queries.WORST_FIRST,
    "sending_ip": ("sending_ip",),
    "rejection_ratio": (F("rejection_ratio").desc(nulls_last=True), "sending_ip"),
    "total_sent": (F("total_sent").desc(nulls_last=True), "sending_ip"),
    "total_rejected": ("-total_rejected", "sending_ip"),
    "since": ("-since", "sending_ip"),
}
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
# As long as counters by hour are kept by default.
LONGEST_WINDOW = timedelta(days=90)


@extend_schema_field({"type": "string", "pattern": "^[1-9][0-9]{0,5}[mhd]$", "default": "15m"})
class WindowField(serializers.Field[timedelta, str, str, Any]):
    """A stretch up to now: 15m, 24h, 7d."""

    def to_internal_value(self, data: Any) -> timedelta:
        """The length."""
        match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", str(data))
        length = int(match[1]) * _UNITS[match[2]] if match else None
        if length is None or length > LONGEST_WINDOW:
            raise serializers.ValidationError("Give a number and m, h or d, such as 15m; 90 days at most.")
        return length


class IpQuery(Query):
    """Filters and order of the list of IPs."""

    status = serializers.ChoiceField(choices=[status.value for status in Status], required=False)
    automatic_status = serializers.ChoiceField(choices=[status.value for status in Status], required=False)
    issue_type = serializers.ChoiceField(choices=[issue.value for issue in IssueType if issue], required=False)
    pool = serializers.CharField(required=False, help_text="Name of the pool whose policy judges the IP.")
    search = serializers.CharField(required=False, help_text="Part of the IP or its label.")
    ordering = serializers.ChoiceField(choices=list(_ORDERINGS), default="worst")

    def validate_pool(self, value: str) -> Pool:
        """The pool of that name."""
        pool = Pool.objects.filter(name=value).first()
        if pool is None:
            raise serializers.ValidationError("There is no such pool.")
        return pool


class FailureQuery(Query):
    """Filters of an IP's failures."""

    window = WindowField(default=timedelta(minutes=15), help_text="Up to now: minutes, hours or days.")
    provider = serializers.CharField(required=False, help_text="Mailbox provider, such as google.")
    code = serializers.CharField(required=False, max_length=16)
    sending_domain = DomainField(required=False)
    type = serializers.ChoiceField(
        choices=[kind.value for kind in EventType if kind.is_failure],
        required=False,
        help_text="Narrows the listed events; totals count bounces and deferrals together.",
    )


class FailureTotalsSerializer(serializers.Serializer[Any]):
    """Refused attempts (bounces and deferrals) from the counters, most frequent first."""

    total = serializers.IntegerField()
    by_code = serializers.DictField(child=serializers.IntegerField())
    by_provider = serializers.DictField(child=serializers.IntegerField())
    by_recipient_domain = serializers.DictField(child=serializers.IntegerField(), help_text="The first hundred.")
    recipient_domains = serializers.IntegerField(help_text="How many refused in all.")


class FailuresSerializer(serializers.Serializer[Any]):
    """The failures of an IP: totals of the whole window, and one page of raw events."""

    sending_ip = serializers.CharField()
    window_start = serializers.DateTimeField()
    window_end = serializers.DateTimeField()
    totals = FailureTotalsSerializer()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = SendingEventSerializer(many=True)


class Ips(ApiView):
    """All sending IPs."""

    @documented("ips", "ips_list", "List sending IPs", answers={200: IpSerializer}, query=IpQuery, pages=Pages)
    def get(self, request: Request) -> Response:
        """Current standings, worst first unless asked otherwise."""
        query = query_of(request, IpQuery)
        rows = equal(IpStanding.objects.all(), query, ("status", "automatic_status", "issue_type"))
        if "pool" in query:
            rows = queries.in_pool(rows, query["pool"])
        if "search" in query:
            rows = queries.matching(rows, query["search"])
        rows = rows.order_by(*_ORDERINGS[query["ordering"]])
        return page_of(request, rows, IpSerializer, prepare=queries.with_surroundings)


class Reputation(ApiView):
    """One sending IP."""

    @documented(
        "ips",
        "ips_reputation",
        "Show the standing of a sending IP",
        answers={200: ReputationSerializer},
        problems=[400, 404],
        examples=[
            OpenApiExample(
                "A quarantined IP, shortened",
                response_only=True,
                status_codes=["200"],
                value={
                    "sending_ip": "203.0.113.12",
                    "status": "quarantine",
                    "automatic_status": "quarantine",
                    "override": None,
                    "since": "2026-11-20T12:05:00Z",
                    "rule": "quarantine_a",
                    "issue_type": "ip_reputation_damage",
                    "why": "3.75 % of 400 sent were refused (15), at gmail.com, outlook.com and yahoo.com; …",
                    "volume": "events",
                    "total_sent": 400,
                    "total_rejected": 15,
                    "rejection_ratio": 0.0375,
                    "counts_by_code": {"5.7.1": 12, "4.7.0": 3},
                    "major_providers": ["gmail.com", "outlook.com", "yahoo.com"],
                },
            )
        ],
    )
    def get(self, request: Request, ip: str) -> Response:
        """Status and why, the numbers of the window, the override in force, scores. 404 for an IP never seen."""
        return Response(shown(ip_in_path(ip)))


class Failures(ApiView):
    """What was refused."""

    @documented(
        "ips",
        "ips_failures",
        "List the failures of a sending IP",
        answers={200: FailuresSerializer},
        query=FailureQuery,
        parameters=page_parameters(NewestFirst),
    )
    def get(self, request: Request, ip: str) -> Response:
        """Totals by code, provider and recipient domain, and the raw events with their reply texts."""
        address = ip_in_path(ip)
        query = query_of(request, FailureQuery)
        start, end = last_minutes(timezone.now(), query["window"])
        only: dict[str, str] = {name: query[name] for name in ("provider", "code", "sending_domain") if name in query}
        totals = refusal_sums(address, start=start, end=end, only=only)
        rows = equal(
            failures(start=totals.start, end=end, sending_ip=address), query, ("provider", "sending_domain", "type")
        )
        page = page_of(request, with_code(rows, query.get("code")), SendingEventSerializer, NewestFirst)
        page.data = {
            "sending_ip": address,
            "window_start": totals.start,
            "window_end": totals.end,
            "totals": FailureTotalsSerializer(totals).data,
            **page.data,
        }
        return page


class History(ApiView):
    """How an IP stood."""

    @documented(
        "ips",
        "ips_history",
        "List the standing history of a sending IP",
        answers={200: IpHistorySerializer},
        query=PeriodQuery,
        pages=NewestFirst,
    )
    def get(self, request: Request, ip: str) -> Response:
        """One row per run, newest first."""
        rows = IpStandingHistory.objects.filter(sending_ip=ip_in_path(ip))
        rows = between(rows, "computed_at", query_of(request, PeriodQuery))
        return page_of(request, rows, IpHistorySerializer, NewestFirst)


class Actions(ApiView):
    """What was done about an IP."""

    @documented(
        "ips",
        "ips_actions",
        "List the audit log of a sending IP",
        answers={200: AuditEntrySerializer},
        query=PeriodQuery,
        pages=NewestFirst,
    )
    def get(self, request: Request, ip: str) -> Response:
        """Changes of status and acts of people, newest first."""
        rows = AuditEntry.objects.filter(sending_ip=ip_in_path(ip)).select_related("judgement")
        rows = between(rows, "at", query_of(request, PeriodQuery))
        return page_of(request, rows, AuditEntrySerializer, NewestFirst)


def shown(address: str) -> Any:
    """The whole standing of a sending IP. Raises 404 for one that was never seen."""
    row = IpStanding.objects.filter(pk=address).first()
    if row is None:
        raise exceptions.NotFound(f"Nothing is known of {address}: no mail from it was reported yet.")
    queries.with_surroundings([row])
    row.provider_scores = queries.provider_scores("ip", address)  # type: ignore[attr-defined]
    return ReputationSerializer(row).data

"""Who is on which blocklist: looks on demand, what is believed, every change."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import blocklist_queries, blocklists
from reputation.api.acts import OperatorView
from reputation.domain.dnsbl import ErrorKind, Result, Severity, is_public
from reputation.domain.dnsbl_belief import State
from reputation.models import Listing, ListingEvent
from telemetry.api.common import (
    ApiView,
    NewestFirst,
    PeriodQuery,
    Query,
    between,
    documented,
    domain_in_path,
    equal,
    ip_in_path,
    page_of,
    query_of,
)
from telemetry.api.words import NamedChoiceField
from telemetry.errors import BadBody
from telemetry.pagination import Pages

KINDS = ("ip", "domain")
_LATE = "No answer in time; it is still being asked"


class SubjectKindField(NamedChoiceField):
    """Whether it is about a sending IP or a sending domain."""

    component = "SubjectKind"
    words = list(KINDS)


class ListingStateField(NamedChoiceField):
    """What is believed of an IP or domain at a list."""

    component = "ListingState"
    words = [state.value for state in State]


class LookResultField(NamedChoiceField):
    """What one look at a list said."""

    component = "LookResult"
    words = [result.value for result in Result]


class LookErrorField(NamedChoiceField):
    """Why a look at a list said nothing."""

    component = "LookError"
    words = [kind.value for kind in ErrorKind]


class ListingSeverityField(NamedChoiceField):
    """How much a listing hurts."""

    component = "ListingSeverity"
    words = [severity.value for severity in Severity]


class TierField(NamedChoiceField):
    """A moves delivery at large providers, B is used by filters, C informs only."""

    component = "BlocklistTier"
    words = ["A", "B", "C"]


class ListingSerializer(serializers.ModelSerializer[Listing]):
    """What one list says of one IP or domain: the belief, which takes two looks that agree, and the last look."""

    blocklist = serializers.CharField(source="blocklist.name")
    operator = serializers.CharField(source="blocklist.operator")
    tier = TierField(source="blocklist.tier")
    weight = serializers.FloatField(source="blocklist.weight")
    is_allow_list = serializers.SerializerMethodField(help_text="True: to be listed is good.")
    kind = SubjectKindField()
    state = ListingStateField()
    pending = ListingStateField(allow_blank=True)
    result = LookResultField(allow_blank=True, help_text="Empty: never looked up.")
    error = LookErrorField(allow_blank=True)
    severity = ListingSeverityField(allow_blank=True)
    codes = serializers.ListField(child=serializers.CharField())
    sublists = serializers.ListField(child=serializers.CharField())
    delist_url = serializers.CharField(source="blocklist.delist_url")
    delist_note = serializers.CharField(source="blocklist.delist_note")

    class Meta:
        model = Listing
        fields = [
            *("blocklist", "operator", "tier", "weight", "is_allow_list", "kind", "subject", "state", "since"),
            *("pending", "result", "error", "detail", "codes", "sublists", "meaning", "severity", "text", "asked_at"),
            *("took", "fresh_until", "due_at", "delist_url", "delist_note"),
        ]

    def get_is_allow_list(self, row: Listing) -> bool:
        """Whether to be listed is good."""
        return row.blocklist.kind in blocklist_queries.ALLOW


class AdviceSerializer(serializers.Serializer[Any]):
    """What to do about one listing."""

    blocklist = serializers.CharField()
    operator = serializers.CharField()
    tier = TierField()
    weight = serializers.FloatField()
    sublists = serializers.ListField(child=serializers.CharField())
    meaning = serializers.CharField()
    severity = ListingSeverityField()
    delist_url = serializers.CharField(allow_blank=True)
    delist_note = serializers.CharField(allow_blank=True)
    sentence = serializers.CharField()


class CheckSerializer(serializers.Serializer[Any]):
    """What every list says now."""

    kind = SubjectKindField()
    subject = serializers.CharField()
    checked_at = serializers.DateTimeField()
    took = serializers.FloatField(help_text="Seconds.")
    complete = serializers.BooleanField(help_text="False: some lists are still being asked.")
    listed = serializers.ListField(
        child=serializers.CharField(), help_text="Blocklists that list it by this look, believed or not yet."
    )
    advice = AdviceSerializer(many=True)
    results = ListingSerializer(many=True)


class ListingQuery(Query):
    """Filters of the list of listings."""

    kind = SubjectKindField(required=False)
    subject = serializers.CharField(required=False, help_text="A sending IP or domain, exactly.")
    state = ListingStateField(required=False, help_text="What is believed.")
    result = LookResultField(required=False, help_text="Of the last look.")
    error = LookErrorField(required=False)
    severity = ListingSeverityField(required=False)
    blocklist = serializers.CharField(required=False, help_text="A list's name.")
    tier = TierField(required=False)


class ListingEventSerializer(serializers.ModelSerializer[ListingEvent]):
    """One believed change."""

    blocklist = serializers.CharField(source="blocklist.name")
    kind = SubjectKindField()
    from_state = ListingStateField()
    to_state = ListingStateField()
    tier = TierField()
    severity = ListingSeverityField(allow_blank=True)
    codes = serializers.ListField(child=serializers.CharField())
    sublists = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = ListingEvent
        fields = [
            *("id", "at", "blocklist", "kind", "subject", "from_state", "to_state", "tier", "codes", "sublists"),
            *("meaning", "severity", "text"),
        ]


class ListingEventQuery(PeriodQuery):
    """Filters of the list of changes."""

    kind = SubjectKindField(required=False)
    subject = serializers.CharField(required=False, help_text="A sending IP or domain, exactly.")
    to_state = ListingStateField(required=False)
    blocklist = serializers.CharField(required=False, help_text="A list's name.")
    tier = TierField(required=False)


class Listings(ApiView):
    """Who is on which list."""

    @documented(
        "blocklists",
        "listings_list",
        "List what blocklists say",
        answers={200: ListingSerializer},
        query=ListingQuery,
        pages=Pages,
    )
    def get(self, request: Request) -> Response:
        """One row for each list and IP or domain, by IP or domain; `state=listed` for what is believed to be listed."""
        query = query_of(request, ListingQuery)
        rows = equal(blocklist_queries.current(), query, ("kind", "subject", "state", "result", "error", "severity"))
        named = {"blocklist": "blocklist__name", "tier": "blocklist__tier"}
        rows = rows.filter(**{column: query[name] for name, column in named.items() if name in query})
        return page_of(request, rows, ListingSerializer)


class ListingEvents(ApiView):
    """What changed."""

    @documented(
        "blocklists",
        "listings_events",
        "List changes of listings",
        answers={200: ListingEventSerializer},
        query=ListingEventQuery,
        pages=NewestFirst,
    )
    def get(self, request: Request) -> Response:
        """Rows that are written once and never edited, newest first."""
        query = query_of(request, ListingEventQuery)
        rows = between(ListingEvent.objects.select_related("blocklist"), "at", query)
        rows = equal(rows, query, ("kind", "subject", "to_state", "tier"))
        if "blocklist" in query:
            rows = rows.filter(blocklist__name=query["blocklist"])
        return page_of(request, rows, ListingEventSerializer, NewestFirst)


class DnsblCheck(OperatorView):
    """Look an IP up now."""

    @documented(
        "ips",
        "ips_dnsbl_check",
        "Check blocklists for a sending IP",
        answers={200: CheckSerializer},
        problems=[400],
    )
    def post(self, request: Request, ip: str) -> Response:
        """Ask every list that may be asked and answer within five seconds.

        An answer whose TTL has not run out stands. A list that did not answer in time has `error: timeout` and is
        asked on in the background; `complete` is false then.
        """
        address = ip_in_path(ip)
        if not is_public(address):
            raise BadBody("ip", f"{address} is a private address, which no blocklist can know.")
        return Response(check("ip", address))


class DomainDnsblCheck(OperatorView):
    """Look a domain up now."""

    @documented(
        "domains",
        "domains_dnsbl_check",
        "Check blocklists for a sending domain",
        answers={200: CheckSerializer},
        problems=[400],
    )
    def post(self, request: Request, domain: str) -> Response:
        """The same as for an IP, on lists of domains; its registered part is looked up too."""
        name = domain_in_path(domain)
        if not is_public(name):
            raise BadBody("domain", f"{name} is no domain that a blocklist can know.")
        return Response(check("domain", name))


def check(kind: str, subject: str, *, patience: timedelta = blocklists.PATIENCE) -> Any:
    """Ask every list now; the answer as it is shown."""
    now, began = timezone.now(), time.monotonic()
    _, late = blocklists.check_now(kind, subject, now=now, patience=patience)
    return _shown(kind, subject, late, now, time.monotonic() - began)


def _shown(kind: str, subject: str, late: set[int], now: datetime, took: float) -> Any:
    rows = blocklist_queries.of_subject(kind, subject)
    for row in rows:
        if row.blocklist_id in late:  # what is stored stays as it was; this is what this person is told
            row.result, row.error, row.detail = Result.ERROR.value, ErrorKind.TIMEOUT.value, _LATE
    listed = [row for row in rows if row.result == Result.LISTED and row.blocklist.kind not in blocklist_queries.ALLOW]
    advice = blocklist_queries.advice(listed, believed=False)
    return CheckSerializer(
        {
            "kind": kind,
            "subject": subject,
            "checked_at": now,
            "took": round(took, 3),
            "complete": not late,
            "listed": [row.blocklist.name for row in listed],
            "advice": [{**asdict(entry), "sentence": entry.sentence} for entry in advice],
            "results": rows,
        }
    ).data

"""Sending domains and their scores."""

from __future__ import annotations

from django.db.models import F
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import queries
from reputation.api.serializers import DomainScoreSerializer, DomainSerializer, ScoreHistorySerializer
from reputation.models import SenderScore, SenderScoreHistory
from telemetry.api.common import (
    ApiView,
    NewestFirst,
    PeriodQuery,
    Query,
    between,
    documented,
    domain_in_path,
    page_of,
    query_of,
)
from telemetry.pagination import Pages

_ORDERINGS = {
    "worst": (F("score").asc(nulls_last=True), "name"),
    "best": (F("score").desc(nulls_last=True), "name"),
    "sending_domain": ("name",),
    "delivered": ("-delivered", "name"),
    "bounced": ("-bounced", "name"),
    "complained": ("-complained", "name"),
}


class DomainQuery(Query):
    """Filters and order of the list of domains."""

    search = serializers.CharField(required=False, help_text="Part of the domain.")
    has_recent_mail = serializers.BooleanField(required=False, allow_null=True, default=None)
    score_below = serializers.IntegerField(required=False, min_value=0, max_value=101)
    ordering = serializers.ChoiceField(choices=list(_ORDERINGS), default="worst")


class DomainHistoryQuery(PeriodQuery):
    """Which of a domain's scores, and when."""

    provider = serializers.CharField(
        required=False, default="", help_text="Mailbox provider; empty: the overall score."
    )


class Domains(ApiView):
    """All sending domains."""

    @documented(
        "domains",
        "domains_list",
        "List sending domains",
        answers={200: DomainScoreSerializer},
        query=DomainQuery,
        pages=Pages,
    )
    def get(self, request: Request) -> Response:
        """Overall scores, worst first unless asked otherwise."""
        query = query_of(request, DomainQuery)
        rows = SenderScore.objects.filter(kind="domain", provider="")
        if "search" in query:
            rows = rows.filter(name__icontains=query["search"])
        if query["has_recent_mail"] is not None:
            rows = rows.filter(has_recent_mail=query["has_recent_mail"])
        if "score_below" in query:
            rows = rows.filter(score__lt=query["score_below"])
        return page_of(request, rows.order_by(*_ORDERINGS[query["ordering"]]), DomainScoreSerializer)


class DomainByName(ApiView):
    """One sending domain."""

    @documented(
        "domains",
        "domains_retrieve",
        "Show a sending domain",
        answers={200: DomainSerializer},
        problems=[400, 404],
    )
    def get(self, request: Request, domain: str) -> Response:
        """The score, the penalties and rates that made it, and the scores by mailbox provider."""
        name = domain_in_path(domain)
        row = SenderScore.objects.filter(kind="domain", name=name, provider="").first()
        if row is None:
            raise exceptions.NotFound(f"Nothing is known of {name}: no mail from it was scored yet.")
        row.provider_scores = queries.provider_scores("domain", name)  # type: ignore[attr-defined]
        return Response(DomainSerializer(row).data)


class DomainHistory(ApiView):
    """How a sending domain stood."""

    @documented(
        "domains",
        "domains_history",
        "List the score history of a sending domain",
        answers={200: ScoreHistorySerializer},
        query=DomainHistoryQuery,
        pages=NewestFirst,
    )
    def get(self, request: Request, domain: str) -> Response:
        """One row at each change and one an hour while there is mail, newest first."""
        query = query_of(request, DomainHistoryQuery)
        rows = SenderScoreHistory.objects.filter(kind="domain", name=domain_in_path(domain), provider=query["provider"])
        return page_of(request, between(rows, "computed_at", query), ScoreHistorySerializer, NewestFirst)

"""What permits come to: budgets and how much of each is spent, and the record summed up."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation.api.permits import PermitRuleField
from reputation.api.pools import PoolNameField
from reputation.api.warmup_shapes import KindField
from reputation.models import Budget
from reputation.permit_summary import MOST_LINES, summary
from telemetry.api.common import ApiView, PeriodQuery, Query, between, documented, equal, page_of, query_of
from telemetry.pagination import Pages

MOST_HOURS = 24 * 7


class BudgetSerializer(serializers.ModelSerializer[Budget]):
    """How much of one cap is spent in one hour or day, in recipients."""

    rule = PermitRuleField()
    kind = KindField()

    class Meta:
        model = Budget
        fields = ["rule", "kind", "sender", "provider", "starts_at", "ends_at", "limit", "spent"]


class BudgetQuery(PeriodQuery):
    """Filters of the list; `from` and `to` are about when a window begins."""

    rule = PermitRuleField(required=False)
    kind = KindField(required=False)
    sender = serializers.CharField(required=False, help_text="A sending IP or domain, exactly.")
    provider = serializers.CharField(required=False, help_text="A mailbox provider's id.")


class Budgets(ApiView):
    """Caps and how much of each is spent."""

    @documented(
        "permits",
        "budgets_list",
        "List budgets",
        answers={200: BudgetSerializer},
        query=BudgetQuery,
        pages=Pages,
    )
    def get(self, request: Request) -> Response:
        """Those of the windows in force, unless `from` or `to` is given; the last seven days are kept.

        A cap has one from its first permit on. Where budgets are counted in Redis they are a second old.
        """
        query, now = query_of(request, BudgetQuery), timezone.now()
        rows = equal(between(Budget.objects.all(), "starts_at", query), query, ("rule", "kind", "sender", "provider"))
        if "from" not in query and "to" not in query:
            rows = rows.filter(starts_at__lte=now, ends_at__gt=now)
        return page_of(request, rows.order_by("-starts_at", "key"), BudgetSerializer)


class CountSerializer(serializers.Serializer[Any]):
    """Questions, and the recipients that they were about."""

    asks = serializers.IntegerField()
    recipients = serializers.IntegerField()


class HeldSerializer(serializers.Serializer[Any]):
    """What was held back, and what would have been."""

    held_back = CountSerializer(help_text="While the pool enforced.")
    would_have_been = CountSerializer(help_text="While the pool observed or warned.")


class HeldByRuleSerializer(HeldSerializer):
    """The same by rule."""

    rule = PermitRuleField()
    reason = serializers.CharField(allow_blank=True, help_text="One of the reasons that were given.")


class HeldBySenderSerializer(HeldByRuleSerializer):
    """The same by rule and sender."""

    sending_domain = serializers.CharField(
        allow_blank=True, help_text="Empty: counted in a storm of senders without naming them."
    )
    sending_ip = serializers.CharField(allow_blank=True, help_text="Where the question was about one IP.")


class HeldByProviderSerializer(HeldSerializer):
    """The same by mailbox provider."""

    provider = serializers.CharField(allow_blank=True, help_text="Empty: nobody knew who would get it.")


class PermitSummarySerializer(HeldSerializer):
    """The record of permits over some hours, the most first."""

    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    asked = CountSerializer(help_text="All that was asked.")
    by_rule = HeldByRuleSerializer(many=True)
    by_sender = HeldBySenderSerializer(many=True, help_text=f"At most {MOST_LINES}.")
    by_provider = HeldByProviderSerializer(many=True, help_text=f"At most {MOST_LINES}.")


class PermitSummaryQuery(Query):
    """Over how long, and of which pool."""

    hours = serializers.IntegerField(required=False, default=24, min_value=1, max_value=MOST_HOURS)
    pool = PoolNameField(required=False)


class PermitSummary(ApiView):
    """What enforce holds back, or would."""

    @documented(
        "permits",
        "permits_summary",
        "Sum up what permits held back, or would have held back",
        answers={200: PermitSummarySerializer},
        query=PermitSummaryQuery,
    )
    def get(self, request: Request) -> Response:
        """The last hours up to now: what to look at before a pool is switched to enforce."""
        query, now = query_of(request, PermitSummaryQuery), timezone.now()
        pools = [query["pool"].name] if "pool" in query else None
        found = summary(start=now - timedelta(hours=query["hours"]), end=now, pools=pools)
        return Response(PermitSummarySerializer(asdict(found)).data)

"""Breaker policies: when the breakers of a pool open, and how they close."""

from __future__ import annotations

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation.breaker_policies import NUMBERS, change_breaker_policy
from reputation.models import BreakerPolicy, BreakerPolicyRevision
from telemetry.api.common import ApiView, RowBody, body_of, documented, page_of, person
from telemetry.pagination import Pages


class BreakerPolicySerializer(serializers.ModelSerializer[BreakerPolicy]):
    """The numbers of one pool. Ratios are 0 to 1; times are "HH:MM:SS", with days before them where needed."""

    pool = serializers.CharField(source="pool.name", read_only=True)
    is_default = serializers.BooleanField(source="pool.is_default", read_only=True)

    class Meta:
        model = BreakerPolicy
        fields = ["id", "pool", "is_default", "revision", *NUMBERS]


class BreakerPolicyChangeSerializer(RowBody[BreakerPolicy]):
    """New numbers, and why."""

    reason = serializers.CharField(max_length=500, required=True)

    class Meta:
        model = BreakerPolicy
        fields = ["reason", *NUMBERS]
        extra_kwargs = {name: {"required": False} for name in NUMBERS}


class BreakerPolicyRevisionSerializer(serializers.ModelSerializer[BreakerPolicyRevision]):
    """A breaker policy as it was from some moment on."""

    values = serializers.DictField(child=serializers.CharField())
    changed_by = serializers.CharField(
        source="changed_by.username", allow_null=True, default=None, help_text="Null: the product itself."
    )

    class Meta:
        model = BreakerPolicyRevision
        fields = ["revision", "changed_at", "changed_by", "reason", "values"]


class BreakerPolicies(ApiView):
    """All breaker policies."""

    @documented(
        "breakers",
        "breaker_policies_list",
        "List breaker policies",
        answers={200: BreakerPolicySerializer},
        pages=Pages,
    )
    def get(self, request: Request) -> Response:
        """By pool. A pool without one goes by the default pool's."""
        rows = BreakerPolicy.objects.select_related("pool").order_by("pool__name")
        return page_of(request, rows, BreakerPolicySerializer)


class BreakerPolicyById(ApiView):
    """One breaker policy."""

    write_permission = "reputation.change_breakerpolicy"

    @documented(
        "breakers",
        "breaker_policies_retrieve",
        "Show a breaker policy",
        answers={200: BreakerPolicySerializer},
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """The numbers in force."""
        return Response(BreakerPolicySerializer(_policy(pk)).data)

    @documented(
        "breakers",
        "breaker_policies_update",
        "Change a breaker policy",
        answers={200: BreakerPolicySerializer},
        body=BreakerPolicyChangeSerializer,
        problems=[404],
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Set the given numbers; the next check goes by them. What they were is kept with who and why."""
        policy = _policy(pk)
        values = body_of(request, BreakerPolicyChangeSerializer)
        reason = values.pop("reason")
        change_breaker_policy(policy, values, user=person(request), reason=reason)
        return Response(BreakerPolicySerializer(_policy(pk)).data)


class BreakerPolicyRevisions(ApiView):
    """How a breaker policy changed."""

    @documented(
        "breakers",
        "breaker_policies_revisions",
        "List the revisions of a breaker policy",
        answers={200: BreakerPolicyRevisionSerializer},
        pages=Pages,
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """Every version with who, when and why; the one in force first."""
        rows = BreakerPolicyRevision.objects.filter(policy=_policy(pk)).select_related("changed_by")
        return page_of(request, rows.order_by("-revision"), BreakerPolicyRevisionSerializer)


def _policy(pk: int) -> BreakerPolicy:
    return get_object_or_404(BreakerPolicy.objects.select_related("pool"), pk=pk)

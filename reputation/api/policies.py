"""Policies: the thresholds that each pool of sending IPs is judged by."""

from __future__ import annotations

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation.models import Policy, PolicyRevision
from reputation.policies import NUMBERS, change_policy
from telemetry.api.common import ApiView, RowBody, body_of, documented, page_of, person
from telemetry.pagination import Pages


class PolicySerializer(serializers.ModelSerializer[Policy]):
    """The thresholds of one pool. Ratios are refused over sent messages, 0 to 1; the window is "HH:MM:SS"."""

    pool = serializers.CharField(source="pool.name", read_only=True)
    is_default = serializers.BooleanField(source="pool.is_default", read_only=True)

    class Meta:
        model = Policy
        fields = ["id", "pool", "is_default", "revision", *NUMBERS]


class PolicyChangeSerializer(RowBody[Policy]):
    """New thresholds, and why."""

    reason = serializers.CharField(max_length=500, required=True)

    class Meta:
        model = Policy
        fields = ["reason", *NUMBERS]
        extra_kwargs = {name: {"required": False} for name in NUMBERS}


class RevisionSerializer(serializers.ModelSerializer[PolicyRevision]):
    """A policy as it was from some moment on."""

    values = serializers.DictField(child=serializers.CharField())
    changed_by = serializers.CharField(
        source="changed_by.username", allow_null=True, default=None, help_text="Null: the product itself."
    )

    class Meta:
        model = PolicyRevision
        fields = ["revision", "changed_at", "changed_by", "reason", "values"]


class Policies(ApiView):
    """All policies."""

    @documented("policies", "policies_list", "List policies", answers={200: PolicySerializer}, pages=Pages)
    def get(self, request: Request) -> Response:
        """Policies by pool."""
        return page_of(request, Policy.objects.select_related("pool").order_by("pool__name"), PolicySerializer)


class PolicyById(ApiView):
    """One policy."""

    write_permission = "reputation.change_policy"

    @documented("policies", "policies_retrieve", "Show a policy", answers={200: PolicySerializer}, problems=[404])
    def get(self, request: Request, pk: int) -> Response:
        """The thresholds in force."""
        return Response(PolicySerializer(_policy(pk)).data)

    @documented(
        "policies",
        "policies_update",
        "Change a policy",
        answers={200: PolicySerializer},
        body=PolicyChangeSerializer,
        problems=[404],
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Set the given thresholds; the next run judges by them. What they were is kept with who and why."""
        policy = _policy(pk)
        values = body_of(request, PolicyChangeSerializer)
        reason = values.pop("reason")
        change_policy(policy, values, user=person(request), reason=reason)
        return Response(PolicySerializer(_policy(pk)).data)


class PolicyRevisions(ApiView):
    """How a policy changed."""

    @documented(
        "policies",
        "policies_revisions",
        "List the revisions of a policy",
        answers={200: RevisionSerializer},
        pages=Pages,
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """Every version with who, when and why; the one in force first."""
        rows = PolicyRevision.objects.filter(policy=_policy(pk)).select_related("changed_by")
        return page_of(request, rows.order_by("-revision"), RevisionSerializer)


def _policy(pk: int) -> Policy:
    return get_object_or_404(Policy.objects.select_related("pool"), pk=pk)

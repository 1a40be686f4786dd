"""Sending policies: what the senders of a pool may send, and whether permits bind."""

from __future__ import annotations

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation.api.permits import SendingModeField
from reputation.domain.sending_policy import OnFailure
from reputation.models import ProviderLimit, SendingPolicy, SendingPolicyRevision
from reputation.sending_policies import NUMBERS, change_sending_policy
from telemetry import mailbox_providers
from telemetry.api.common import ApiView, RowBody, body_of, documented, page_of, person
from telemetry.api.words import NamedChoiceField
from telemetry.pagination import Pages

MOST_LIMITS = 1_000


class OnFailureField(NamedChoiceField):
    """While the database or Redis is away: mail passes (open) or is deferred (closed)."""

    component = "SendingOnFailure"
    words = [word.value for word in OnFailure]


class ProviderLimitSerializer(RowBody[ProviderLimit]):
    """Recipients at one mailbox provider; null: no such limit."""

    provider = serializers.CharField(
        max_length=60, allow_blank=True, help_text="A mailbox provider's id; empty: each one that is not named."
    )

    class Meta:
        model = ProviderLimit
        fields = ["provider", "per_hour", "per_day"]

    def validate_provider(self, value: str) -> str:
        """A limit of a provider that nobody knows would limit nothing."""
        if value and value not in mailbox_providers.directory().titles:
            raise serializers.ValidationError(f"There is no mailbox provider {value!r}.")
        return value


class SendingPolicySerializer(serializers.ModelSerializer[SendingPolicy]):
    """What one pool's senders may send. Limits are recipients; null: no limit."""

    pool = serializers.CharField(source="pool.name", read_only=True)
    is_default = serializers.BooleanField(source="pool.is_default", read_only=True)
    mode = SendingModeField()
    on_failure = OnFailureField()
    provider_limits = ProviderLimitSerializer(many=True)

    class Meta:
        model = SendingPolicy
        fields = ["id", "pool", "is_default", "revision", *NUMBERS, "provider_limits"]


class SendingPolicyChangeSerializer(RowBody[SendingPolicy]):
    """New values, and why."""

    reason = serializers.CharField(max_length=500, required=True)
    mode = SendingModeField(required=False)
    on_failure = OnFailureField(required=False)
    provider_limits = ProviderLimitSerializer(  # type: ignore[call-arg]
        many=True,
        required=False,
        max_length=MOST_LIMITS,
        help_text="The whole new list; one that is not in it is gone.",
    )

    class Meta:
        model = SendingPolicy
        fields = ["reason", *NUMBERS, "provider_limits"]
        extra_kwargs = {name: {"required": False} for name in NUMBERS}


class SendingPolicyRevisionSerializer(serializers.ModelSerializer[SendingPolicyRevision]):
    """A sending policy as it was from some moment on."""

    values = serializers.DictField(
        help_text="Every value as text; provider_limits by provider (“other”: each one that is not named) as "
        "[per hour, per day]."
    )
    changed_by = serializers.CharField(
        source="changed_by.username", allow_null=True, default=None, help_text="Null: the product itself."
    )

    class Meta:
        model = SendingPolicyRevision
        fields = ["revision", "changed_at", "changed_by", "reason", "values"]


class SendingPolicies(ApiView):
    """All sending policies."""

    @documented(
        "pools and limits",
        "sending_policies_list",
        "List sending policies",
        answers={200: SendingPolicySerializer},
        pages=Pages,
    )
    def get(self, request: Request) -> Response:
        """By pool. A pool without one goes by the default pool's."""
        return page_of(request, _policies().order_by("pool__name"), SendingPolicySerializer)


class SendingPolicyById(ApiView):
    """One sending policy."""

    write_permission = "reputation.change_sendingpolicy"

    @documented(
        "pools and limits",
        "sending_policies_retrieve",
        "Show a sending policy",
        answers={200: SendingPolicySerializer},
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """The mode and the limits in force."""
        return Response(SendingPolicySerializer(get_object_or_404(_policies(), pk=pk)).data)

    @documented(
        "pools and limits",
        "sending_policies_update",
        "Change a sending policy",
        answers={200: SendingPolicySerializer},
        body=SendingPolicyChangeSerializer,
        problems=[404],
        examples=[
            OpenApiExample(
                "Enforce, with limits per provider",
                value={
                    "mode": "enforce",
                    "provider_limits_on": True,
                    "provider_limits": [
                        {"provider": "google", "per_hour": 500, "per_day": 10_000},
                        {"provider": "", "per_hour": 1_000, "per_day": None},
                    ],
                    "reason": "a week of observing held back nothing that should have passed",
                },
                request_only=True,
            )
        ],
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Set the given values; permits go by them a second later. What they were is kept with who and why."""
        policy = get_object_or_404(_policies(), pk=pk)
        values = body_of(request, SendingPolicyChangeSerializer)
        reason = values.pop("reason")
        change_sending_policy(policy, values, user=person(request), reason=reason)
        return Response(SendingPolicySerializer(_policies().get(pk=pk)).data)


class SendingPolicyRevisions(ApiView):
    """How a sending policy changed."""

    @documented(
        "pools and limits",
        "sending_policies_revisions",
        "List the revisions of a sending policy",
        answers={200: SendingPolicyRevisionSerializer},
        pages=Pages,
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """Every version with who, when and why; the one in force first."""
        policy = get_object_or_404(SendingPolicy, pk=pk)
        rows = SendingPolicyRevision.objects.filter(policy=policy).select_related("changed_by")
        return page_of(request, rows.order_by("-revision"), SendingPolicyRevisionSerializer)


def _policies() -> QuerySet[SendingPolicy]:
    return SendingPolicy.objects.select_related("pool").prefetch_related("provider_limits")

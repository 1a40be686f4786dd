"""Warm-up templates and policies: by which numbers senders warm up, and what is done with new ones."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation.api.warmup_shapes import AmountsField, ProviderAmountsField, WarmupUnitField
from reputation.domain.warmup_policy import OnDetection
from reputation.models import WarmupPolicy, WarmupPolicyRevision, WarmupTemplate
from reputation.warmup_policies import NUMBERS, change_warmup_policy
from reputation.warmup_templates import FIELDS, delete_template, save_template
from telemetry.api.common import ApiView, RowBody, body_of, documented, page_of, person
from telemetry.api.words import NamedChoiceField
from telemetry.errors import Conflict
from telemetry.pagination import Pages


class SharesField(serializers.DictField):
    """Percent of the full volume on each day, by mailbox provider id."""

    child = serializers.ListField(child=serializers.FloatField(min_value=0, max_value=100))


class WarmupTemplateSerializer(RowBody[WarmupTemplate]):
    """A schedule to start warm-ups by: either `amounts`, or `provider_shares`."""

    unit = WarmupUnitField(required=False)
    amounts = AmountsField(required=False, min_length=0)
    provider_amounts = ProviderAmountsField(required=False)
    provider_shares = SharesField(required=False)
    days = serializers.IntegerField(read_only=True)

    class Meta:
        model = WarmupTemplate
        fields = ["id", *FIELDS, "days", "builtin"]
        read_only_fields = ["builtin"]


class WarmupTemplateChangeSerializer(WarmupTemplateSerializer):
    """What to change of a template."""

    class Meta(WarmupTemplateSerializer.Meta):
        extra_kwargs = {"name": {"required": False}}


class OnDetectionField(NamedChoiceField):
    """What becomes of a new or cold sender: nothing, a proposal to confirm, or a warm-up at once."""

    component = "OnDetection"
    words = [word.value for word in OnDetection]


class WarmupPolicySerializer(serializers.ModelSerializer[WarmupPolicy]):
    """The numbers of one pool. Shares are 0 to 1; times are "HH:MM:SS", with days before them where needed."""

    pool = serializers.CharField(source="pool.name", read_only=True)
    is_default = serializers.BooleanField(source="pool.is_default", read_only=True)
    on_detection = OnDetectionField()
    ip_template = serializers.CharField(source="ip_template.name")
    domain_template = serializers.CharField(source="domain_template.name")

    class Meta:
        model = WarmupPolicy
        fields = ["id", "pool", "is_default", "revision", *NUMBERS]


def _template_field() -> Any:
    return serializers.SlugRelatedField(slug_field="name", queryset=WarmupTemplate.objects.all(), required=False)


class WarmupPolicyChangeSerializer(RowBody[WarmupPolicy]):
    """New numbers, and why."""

    reason = serializers.CharField(max_length=500, required=True)
    on_detection = OnDetectionField(required=False)
    ip_template = _template_field()
    domain_template = _template_field()

    class Meta:
        model = WarmupPolicy
        fields = ["reason", *NUMBERS]
        extra_kwargs = {name: {"required": False} for name in NUMBERS}


class WarmupPolicyRevisionSerializer(serializers.ModelSerializer[WarmupPolicyRevision]):
    """A warm-up policy as it was from some moment on."""

    values = serializers.DictField(child=serializers.CharField())
    changed_by = serializers.CharField(
        source="changed_by.username", allow_null=True, default=None, help_text="Null: the product itself."
    )

    class Meta:
        model = WarmupPolicyRevision
        fields = ["revision", "changed_at", "changed_by", "reason", "values"]


class WarmupTemplates(ApiView):
    """All templates."""

    write_permission = "reputation.change_warmuptemplate"

    @documented(
        "warm-ups",
        "warmup_templates_list",
        "List warm-up templates",
        answers={200: WarmupTemplateSerializer},
        pages=Pages,
    )
    def get(self, request: Request) -> Response:
        """Built-in ones first, each with where its numbers come from."""
        rows = WarmupTemplate.objects.order_by("-builtin", "name")
        return page_of(request, rows, WarmupTemplateSerializer)

    @documented(
        "warm-ups",
        "warmup_templates_create",
        "Make a warm-up template",
        answers={201: WarmupTemplateSerializer},
        body=WarmupTemplateSerializer,
    )
    def post(self, request: Request) -> Response:
        """A schedule of one's own."""
        values = body_of(request, WarmupTemplateSerializer)
        row = save_template(WarmupTemplate(), values, user=person(request))
        return Response(WarmupTemplateSerializer(row).data, status=201)


class WarmupTemplateById(ApiView):
    """One template."""

    write_permission = "reputation.change_warmuptemplate"

    @documented(
        "warm-ups",
        "warmup_templates_retrieve",
        "Show a warm-up template",
        answers={200: WarmupTemplateSerializer},
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """Its numbers, and where they come from."""
        return Response(WarmupTemplateSerializer(get_object_or_404(WarmupTemplate, pk=pk)).data)

    @documented(
        "warm-ups",
        "warmup_templates_update",
        "Change a warm-up template",
        answers={200: WarmupTemplateSerializer},
        body=WarmupTemplateChangeSerializer,
        problems=[404, 409],
    )
    def patch(self, request: Request, pk: int) -> Response:
        """What runs keeps its numbers. A built-in template stays as it is published."""
        row = _own(pk)
        values = body_of(request, WarmupTemplateChangeSerializer)
        return Response(WarmupTemplateSerializer(save_template(row, values, user=person(request))).data)

    @documented(
        "warm-ups",
        "warmup_templates_delete",
        "Delete a warm-up template",
        answers={204: None},
        problems=[404, 409],
    )
    def delete(self, request: Request, pk: int) -> Response:
        """What runs keeps its numbers. One that a policy goes by stays."""
        try:
            delete_template(_own(pk), user=person(request))
        except ValidationError as error:
            raise Conflict(" ".join(error.messages)) from None
        return Response(status=204)


class WarmupPolicies(ApiView):
    """All warm-up policies."""

    @documented(
        "warm-ups",
        "warmup_policies_list",
        "List warm-up policies",
        answers={200: WarmupPolicySerializer},
        pages=Pages,
    )
    def get(self, request: Request) -> Response:
        """By pool. A pool without one goes by the default pool's."""
        return page_of(request, _policies().order_by("pool__name"), WarmupPolicySerializer)


class WarmupPolicyById(ApiView):
    """One warm-up policy."""

    write_permission = "reputation.change_warmuppolicy"

    @documented(
        "warm-ups",
        "warmup_policies_retrieve",
        "Show a warm-up policy",
        answers={200: WarmupPolicySerializer},
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """The numbers in force."""
        return Response(WarmupPolicySerializer(get_object_or_404(_policies(), pk=pk)).data)

    @documented(
        "warm-ups",
        "warmup_policies_update",
        "Change a warm-up policy",
        answers={200: WarmupPolicySerializer},
        body=WarmupPolicyChangeSerializer,
        problems=[404],
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Set the given numbers; what runs keeps its schedule and its time zone. What they were is kept."""
        policy = get_object_or_404(_policies(), pk=pk)
        values = body_of(request, WarmupPolicyChangeSerializer)
        change_warmup_policy(policy, values, user=person(request), reason=values.pop("reason"))
        return Response(WarmupPolicySerializer(_policies().get(pk=pk)).data)


class WarmupPolicyRevisions(ApiView):
    """How a warm-up policy changed."""

    @documented(
        "warm-ups",
        "warmup_policies_revisions",
        "List the revisions of a warm-up policy",
        answers={200: WarmupPolicyRevisionSerializer},
        pages=Pages,
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """Every version with who, when and why; the one in force first."""
        policy = get_object_or_404(_policies(), pk=pk)
        rows = WarmupPolicyRevision.objects.filter(policy=policy).select_related("changed_by")
        return page_of(request, rows.order_by("-revision"), WarmupPolicyRevisionSerializer)


def _policies() -> Any:
    return WarmupPolicy.objects.select_related("pool", "ip_template", "domain_template")


def _own(pk: int) -> WarmupTemplate:
    """A template that may be changed. Raises 404, and 409 for a built-in one."""
    row: WarmupTemplate = get_object_or_404(WarmupTemplate, pk=pk)
    if row.builtin:
        raise Conflict("A built-in template stays as it is published: make one of your own.")
    return row

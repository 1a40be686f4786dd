"""The senders that are audited, and what people tell of them: DKIM selectors, envelope domains, EHLO names."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.shortcuts import get_object_or_404
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from reputation.api.audits import WRITE, AuditKindField
from reputation.models import AuditTarget
from telemetry.api.common import ApiView, Query, RowBody, documented, equal, page_of, query_of
from telemetry.errors import Conflict
from telemetry.pagination import Pages


class AuditTargetSerializer(RowBody[AuditTarget]):
    """A sender that is audited, what is known of it, and how its last audit ended."""

    kind = AuditKindField()
    dkim_selectors = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Of a domain: “s2026”, or “s1@esp.example”."
    )
    helo_names = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Of an IP: what its server says in EHLO."
    )

    class Meta:
        model = AuditTarget
        fields = [
            "id",
            "kind",
            "name",
            "dkim_selectors",
            "envelope_domain",
            "helo_names",
            "may_probe",
            "due_at",
            "audited_at",
            "by_causes_at",
            "score",
            "problems",
        ]
        read_only_fields = ["due_at", "audited_at", "by_causes_at", "score", "problems"]
        validators: list[Any] = []  # a second row is refused by the database, as 409

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The model says what belongs to which kind."""
        row = self.instance or AuditTarget()
        for name, value in attrs.items():
            setattr(row, name, value)
        row.full_clean(validate_unique=False, validate_constraints=False)
        return {**attrs, "name": row.name} if self.instance is None else attrs


class AuditTargetChangeSerializer(AuditTargetSerializer):
    """What is known of it; whom it is about cannot be changed: add another one."""

    kind = AuditKindField(read_only=True)

    class Meta(AuditTargetSerializer.Meta):
        read_only_fields = [*AuditTargetSerializer.Meta.read_only_fields, "name"]


class AuditTargetQuery(Query):
    """Filters of the list of audited senders."""

    kind = AuditKindField(required=False)
    search = serializers.CharField(required=False, help_text="Part of the IP or domain.")


class AuditTargets(ApiView):
    """The senders that are audited."""

    write_permission = WRITE

    @documented(
        "audits",
        "audit_targets_list",
        "List audited senders",
        answers={200: AuditTargetSerializer},
        query=AuditTargetQuery,
        pages=Pages,
    )
    def get(self, request: Request) -> Response:
        """Most problems first. Active senders come in by themselves."""
        query = query_of(request, AuditTargetQuery)
        rows = equal(AuditTarget.objects.all(), query, ("kind",))
        if "search" in query:
            rows = rows.filter(name__icontains=query["search"])
        return page_of(request, rows.order_by("-problems", "score", "name"), AuditTargetSerializer)

    @documented(
        "audits",
        "audit_targets_create",
        "Tell what is known of a sender",
        answers={201: AuditTargetSerializer},
        body=AuditTargetSerializer,
        problems=[409],
    )
    def post(self, request: Request) -> Response:
        """Add one that has sent nothing yet; one that is there already is changed by PATCH (409)."""
        shape = AuditTargetSerializer(data=request.data)
        shape.is_valid(raise_exception=True)
        try:
            with transaction.atomic():
                shape.save()
        except IntegrityError:
            raise Conflict("This sender is there already.") from None
        return Response(shape.data, status=status.HTTP_201_CREATED)


class AuditTargetById(ApiView):
    """One audited sender."""

    write_permission = WRITE

    @documented(
        "audits",
        "audit_targets_retrieve",
        "Show an audited sender",
        answers={200: AuditTargetSerializer},
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """What is known of it, and when it is due."""
        return Response(AuditTargetSerializer(get_object_or_404(AuditTarget, pk=pk)).data)

    @documented(
        "audits",
        "audit_targets_update",
        "Change what is known of a sender",
        answers={200: AuditTargetSerializer},
        body=AuditTargetChangeSerializer(partial=True),
        problems=[404],
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given: DKIM selectors, envelope domain, EHLO names, whether it may be probed."""
        shape = AuditTargetChangeSerializer(get_object_or_404(AuditTarget, pk=pk), data=request.data, partial=True)
        shape.is_valid(raise_exception=True)
        row = shape.instance
        assert isinstance(row, AuditTarget)
        # Only what was given: a run may be writing the row's other columns.
        row.save(update_fields=list(shape.validated_data))
        return Response(AuditTargetSerializer(row).data)

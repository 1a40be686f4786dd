"""Rules of alerts: who is told of what, and when."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.shortcuts import get_object_or_404
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from reputation.alert_rules import delete_rule
from reputation.api.alerts import AlertKindField, AlertSeverityField
from reputation.models import AlertRule
from reputation.models.alerting import valid_zone
from telemetry.api.common import ApiView, RowBody, documented, page_of
from telemetry.errors import Conflict
from telemetry.pagination import Pages

WRITE = "reputation.change_alertrule"


class AlertRuleSerializer(RowBody[AlertRule]):
    """Who is told of which alerts. Channels are named by their ids."""

    kind = AlertKindField(required=False, allow_blank=True, help_text="Empty: every kind.")
    least_severity = AlertSeverityField(required=False)
    zone = serializers.CharField(required=False, max_length=60, validators=[valid_zone])

    class Meta:
        model = AlertRule
        fields = [
            *("id", "name", "kind", "least_severity", "subject", "pool", "channels", "quiet_from", "quiet_to", "zone"),
            *("escalate_after", "escalation_channels", "is_enabled", "builtin"),
        ]
        read_only_fields = ["builtin"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Quiet hours have both ends."""
        merged = {name: attrs.get(name, getattr(self.instance, name, None)) for name in ("quiet_from", "quiet_to")}
        AlertRule(**merged).clean()
        return attrs


class AlertRules(ApiView):
    """The rules."""

    write_permission = WRITE

    @documented("alerts", "alert_rules_list", "List alert rules", answers={200: AlertRuleSerializer}, pages=Pages)
    def get(self, request: Request) -> Response:
        """By name."""
        rows = AlertRule.objects.prefetch_related("channels", "escalation_channels")
        return page_of(request, rows, AlertRuleSerializer)

    @documented(
        "alerts",
        "alert_rules_create",
        "Add an alert rule",
        answers={201: AlertRuleSerializer},
        body=AlertRuleSerializer,
    )
    def post(self, request: Request) -> Response:
        """Add one; it is for what happens from now on."""
        shape = AlertRuleSerializer(data=request.data)
        shape.is_valid(raise_exception=True)
        shape.save()
        return Response(shape.data, status=status.HTTP_201_CREATED)


class AlertRuleById(ApiView):
    """One rule."""

    write_permission = WRITE

    @documented(
        "alerts", "alert_rules_retrieve", "Show an alert rule", answers={200: AlertRuleSerializer}, problems=[404]
    )
    def get(self, request: Request, pk: int) -> Response:
        """Whom it is for and who is told."""
        return Response(AlertRuleSerializer(get_object_or_404(AlertRule, pk=pk)).data)

    @documented(
        "alerts",
        "alert_rules_update",
        "Change an alert rule",
        answers={200: AlertRuleSerializer},
        body=AlertRuleSerializer(partial=True),
        problems=[404],
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given."""
        shape = AlertRuleSerializer(get_object_or_404(AlertRule, pk=pk), data=request.data, partial=True)
        shape.is_valid(raise_exception=True)
        shape.save()
        return Response(shape.data)

    @documented("alerts", "alert_rules_delete", "Delete an alert rule", answers={204: None}, problems=[404, 409])
    def delete(self, request: Request, pk: int) -> Response:
        """Delete one of your own; a shipped one is switched off instead (409)."""
        try:
            delete_rule(get_object_or_404(AlertRule, pk=pk))
        except ValidationError as error:
            raise Conflict(" ".join(error.messages)) from None
        return Response(status=status.HTTP_204_NO_CONTENT)

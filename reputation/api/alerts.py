"""Alerts: what is wrong, what became of it, whom it was told, and the two things that people do about it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import alerts
from reputation.domain.alerting import Kind, News, Severity, State, SubjectKind
from reputation.models import Alert, AlertDelivery, AlertEvent
from telemetry.api.common import (
    ApiView,
    Body,
    NewestFirst,
    PeriodQuery,
    between,
    body_of,
    documented,
    equal,
    page_of,
    person,
    query_of,
)
from telemetry.api.words import NamedChoiceField
from telemetry.errors import Conflict

WRITE = "reputation.change_alert"


class AlertKindField(NamedChoiceField):
    """What an alert is about."""

    component = "AlertKind"
    words = [kind.value for kind in Kind]


class AlertSeverityField(NamedChoiceField):
    """How much it matters."""

    component = "AlertSeverity"
    words = [severity.value for severity in Severity]


class AlertStateField(NamedChoiceField):
    """Whether somebody must look."""

    component = "AlertState"
    words = [state.value for state in State]


class AlertSubjectKindField(NamedChoiceField):
    """What sort of thing the subject is."""

    component = "AlertSubjectKind"
    words = [kind.value for kind in SubjectKind]


class AlertNewsField(NamedChoiceField):
    """What became of an alert."""

    component = "AlertNews"
    words = [news.value for news in News]


class AlertDeliveryStateField(NamedChoiceField):
    """Whether a channel was told; `dropped`: it was over before anybody was."""

    component = "AlertDeliveryState"
    words = [state for state, _ in AlertDelivery.STATES]


class AlertSerializer(serializers.ModelSerializer[Alert]):
    """Something that is or was wrong."""

    kind = AlertKindField()
    subject_kind = AlertSubjectKindField()
    severity = AlertSeverityField()
    state = AlertStateField()
    evidence = serializers.DictField()

    class Meta:
        model = Alert
        fields = [
            *("id", "kind", "subject", "subject_kind", "severity", "state", "sentence", "evidence", "link", "count"),
            *("opened_at", "last_at", "acknowledged_at", "acknowledged_by", "resolved_at", "resolved_by"),
        ]


class AlertEventSerializer(serializers.ModelSerializer[AlertEvent]):
    """One thing that became of an alert."""

    news = AlertNewsField()
    severity = AlertSeverityField()

    class Meta:
        model = AlertEvent
        fields = ["id", "at", "news", "severity", "sentence", "triggered_by", "note"]


class AlertDeliverySerializer(serializers.ModelSerializer[AlertDelivery]):
    """One event on its way to one channel."""

    channel = serializers.CharField(source="channel.name")
    rule = serializers.CharField(source="rule.name", default=None, allow_null=True)
    news = AlertNewsField()
    state = AlertDeliveryStateField()

    class Meta:
        model = AlertDelivery
        fields = ["id", "channel", "rule", "news", "state", "attempts", "error", "created_at", "due_at", "sent_at"]


class AlertQuery(PeriodQuery):
    """Filters of the list of alerts; the stretch of time is that in which they opened."""

    kind = AlertKindField(required=False)
    severity = AlertSeverityField(required=False)
    state = AlertStateField(required=False)
    subject_kind = AlertSubjectKindField(required=False)
    subject = serializers.CharField(required=False, help_text="An IP, domain or source, exactly.")


class AlertNoteBody(Body):
    """What to say about it."""

    note = serializers.CharField(required=False, allow_blank=True, default="", max_length=alerts.LONGEST_NOTE)


class Alerts(ApiView):
    """All alerts."""

    @documented(
        "alerts",
        "alerts_list",
        "List alerts",
        answers={200: AlertSerializer},
        query=AlertQuery,
        pages=NewestFirst,
    )
    def get(self, request: Request) -> Response:
        """Newest first."""
        query = query_of(request, AlertQuery)
        rows = equal(Alert.objects.all(), query, ("kind", "severity", "state", "subject_kind", "subject"))
        return page_of(request, between(rows, "opened_at", query), AlertSerializer, NewestFirst)


class AlertById(ApiView):
    """One alert."""

    @documented("alerts", "alerts_retrieve", "Show an alert", answers={200: AlertSerializer}, problems=[404])
    def get(self, request: Request, pk: int) -> Response:
        """What happened, since when, how often, and who looks after it."""
        return Response(AlertSerializer(get_object_or_404(Alert, pk=pk)).data)


class AlertEvents(ApiView):
    """What became of an alert."""

    @documented(
        "alerts",
        "alerts_events",
        "List what became of an alert",
        answers={200: AlertEventSerializer},
        pages=NewestFirst,
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """Rows that are written once and never edited, newest first."""
        rows = AlertEvent.objects.filter(alert=get_object_or_404(Alert, pk=pk))
        return page_of(request, rows, AlertEventSerializer, NewestFirst)


class AlertDeliveries(ApiView):
    """Whom an alert was told."""

    @documented(
        "alerts",
        "alerts_deliveries",
        "List the deliveries of an alert",
        answers={200: AlertDeliverySerializer},
        pages=NewestFirst,
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """A row for each event and channel, with the attempts and the last error."""
        rows = AlertDelivery.objects.filter(alert=get_object_or_404(Alert, pk=pk))
        return page_of(request, rows.select_related("channel", "rule"), AlertDeliverySerializer, NewestFirst)


class AcknowledgeAlert(ApiView):
    """Say that somebody looks after it."""

    write_permission = WRITE

    @documented(
        "alerts",
        "alerts_acknowledge",
        "Acknowledge an alert",
        answers={200: AlertSerializer},
        body=AlertNoteBody,
        problems=[404, 409],
    )
    def post(self, request: Request, pk: int) -> Response:
        """It is not escalated any more; 409 where it is not open."""
        return _act(request, pk, alerts.acknowledge)


class ResolveAlert(ApiView):
    """Say that it is over."""

    write_permission = WRITE

    @documented(
        "alerts",
        "alerts_resolve",
        "Resolve an alert",
        answers={200: AlertSerializer},
        body=AlertNoteBody,
        problems=[404, 409],
    )
    def post(self, request: Request, pk: int) -> Response:
        """A condition that goes on is told again only after it has ended; 409 where it is resolved already."""
        return _act(request, pk, alerts.resolve)


def _act(request: Request, pk: int, act: Any) -> Response:
    alert = get_object_or_404(Alert, pk=pk)
    note = body_of(request, AlertNoteBody)["note"]
    try:
        act(alert, user=person(request), note=note, now=timezone.now())
    except ValidationError as error:
        raise Conflict(" ".join(error.messages)) from None
    return Response(AlertSerializer(alert).data)

"""Rejected events: look, mend, replay."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from telemetry import intake
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
    query_of,
)
from telemetry.errors import BadBody
from telemetry.models import RejectedEvent

WRITE = "telemetry.change_rejectedevent"


class RejectedEventSerializer(serializers.ModelSerializer[RejectedEvent]):
    """An event that could not be taken, what is wrong with it, and the event as it came."""

    source = serializers.CharField(source="source.name")  # type: ignore[assignment]

    class Meta:
        model = RejectedEvent
        fields = [
            "id",
            "source",
            "parser",
            "field",
            "message",
            "payload",
            "times",
            "received_at",
            "last_received_at",
            "replayed_at",
        ]


class RejectedQuery(PeriodQuery):
    """Filters of the list of rejected events; the stretch is that in which they came first."""

    source = serializers.CharField(required=False, help_text="Name of the source.")  # type: ignore[assignment]
    parser = serializers.CharField(required=False)
    field = serializers.CharField(required=False, help_text="The field that is wrong.")
    replayed = serializers.BooleanField(required=False, allow_null=True, default=None)
    search = serializers.CharField(required=False, help_text="Part of the message or of the event.")


class PayloadBody(Body):
    """The mended event."""

    payload = serializers.CharField(trim_whitespace=False, max_length=intake.LONGEST_PAYLOAD)


class RejectedEvents(ApiView):
    """Events that could not be taken."""

    @documented(
        "rejected events",
        "rejected_events_list",
        "List rejected events",
        answers={200: RejectedEventSerializer},
        query=RejectedQuery,
        pages=NewestFirst,
    )
    def get(self, request: Request) -> Response:
        """Rejected events, the last first."""
        query = query_of(request, RejectedQuery)
        rows = between(RejectedEvent.objects.select_related("source"), "received_at", query)
        rows = equal(rows, query, ("parser", "field"))
        if "source" in query:
            rows = rows.filter(source__name=query["source"])
        if query["replayed"] is not None:
            rows = rows.filter(replayed_at__isnull=not query["replayed"])
        if "search" in query:
            rows = rows.filter(Q(message__icontains=query["search"]) | Q(payload__icontains=query["search"]))
        return page_of(request, rows, RejectedEventSerializer, NewestFirst)


class RejectedEventById(ApiView):
    """One rejected event."""

    write_permission = WRITE

    @documented(
        "rejected events",
        "rejected_events_retrieve",
        "Show a rejected event",
        answers={200: RejectedEventSerializer},
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """The event as it came."""
        return Response(_shown(_rejected(pk)))

    @documented(
        "rejected events",
        "rejected_events_update",
        "Mend a rejected event",
        answers={200: RejectedEventSerializer},
        body=PayloadBody,
        problems=[404],
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Replace the event's text; replay it next."""
        rejected = _rejected(pk)
        rejected.payload = body_of(request, PayloadBody)["payload"]
        rejected.save(update_fields=["payload"])
        return Response(_shown(rejected))


class ReplayRejectedEvent(ApiView):
    """Another try."""

    write_permission = WRITE

    @documented(
        "rejected events",
        "rejected_events_replay",
        "Replay a rejected event",
        answers={200: RejectedEventSerializer},
        problems=[400, 404],
    )
    def post(self, request: Request, pk: int) -> Response:
        """Read the event again and record it (200), or say what is wrong with it now (400). Twice records once."""
        rejected = _rejected(pk)
        refusal = intake.replay(rejected, now=timezone.now())
        if refusal is not None:
            raise BadBody(refusal.field, refusal.message)
        return Response(_shown(rejected))


def _rejected(pk: int) -> RejectedEvent:
    return get_object_or_404(RejectedEvent.objects.select_related("source"), pk=pk)


def _shown(rejected: RejectedEvent) -> Any:
    return RejectedEventSerializer(rejected).data

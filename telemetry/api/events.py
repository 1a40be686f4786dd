"""Reading what was reported: raw events and reported volumes, at the URLs that sources post to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from telemetry.api.common import (
    DomainField,
    IpField,
    KnownUrls,
    NewestFirst,
    PeriodQuery,
    between,
    documented,
    equal,
    page_of,
    query_of,
)
from telemetry.api.webhooks import EventsEndpoint, SourceView, VolumesEndpoint
from telemetry.domain.clean import received_from
from telemetry.domain.vocab import EventType
from telemetry.models import SendingEvent, VolumeReport
from telemetry.permissions import StaffReadsOperatorsWrite

# Raw events are for looking at what happens now; an older stretch has to be asked for.
SHOWN_BY_DEFAULT = timedelta(hours=24)


class SendingEventSerializer(serializers.ModelSerializer[SendingEvent]):
    """An event as it was reported, and what we made of it."""

    source = serializers.CharField(source="source.name")  # type: ignore[assignment]

    class Meta:
        model = SendingEvent
        fields = [
            "id",
            "source",
            "type",
            "occurred_at",
            "received_at",
            "sending_ip",
            "sending_domain",
            "recipient",
            "recipient_domain",
            "provider",
            "mx_host",
            "smtp_code",
            "enhanced_code",
            "cause",
            "reply",
            "attempt_number",
            "message_id",
            "classification",
            "node",
            "event_id",
            "future",
        ]


class EventQuery(PeriodQuery):
    """Filters of the list of events."""

    type = serializers.ChoiceField(choices=[kind.value for kind in EventType], required=False)
    sending_ip = IpField(required=False)
    sending_domain = DomainField(required=False)
    recipient_domain = DomainField(required=False)
    provider = serializers.CharField(required=False, help_text="Mailbox provider, such as google.")
    code = serializers.CharField(
        required=False, max_length=16, help_text="Enhanced code; three digits find replies that had none."
    )
    cause = serializers.CharField(required=False, help_text="Such as reputation or authentication.")
    source = serializers.CharField(required=False, help_text="Name of the source.")  # type: ignore[assignment]


class VolumeReportSerializer(serializers.ModelSerializer[VolumeReport]):
    """A reported volume."""

    source = serializers.CharField(source="source.name")  # type: ignore[assignment]

    class Meta:
        model = VolumeReport
        fields = ["id", "source", "sending_ip", "sent", "start", "end", "reported_at"]


class VolumeQuery(PeriodQuery):
    """Filters of the list of reported volumes; the stretch is that in which a report ends."""

    sending_ip = IpField(required=False)
    source = serializers.CharField(required=False, help_text="Name of the source.")  # type: ignore[assignment]


class StaffMayRead(KnownUrls, SourceView):
    """One URL, two kinds of caller: sources post with their token, staff read with theirs."""

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Those of the API for reading, the source's own for the rest."""
        if self._reads():
            return [authentication() for authentication in APIView.authentication_classes]
        return super().get_authenticators()

    def get_permissions(self) -> list[Any]:
        """Staff for reading, sources for the rest."""
        staff: list[BasePermission] = [StaffReadsOperatorsWrite()]
        return staff if self._reads() else list(super().get_permissions())

    def _reads(self) -> bool:
        request = getattr(self, "request", None)
        return request is not None and request.method in ("GET", "HEAD")


class Events(StaffMayRead, EventsEndpoint):
    """Sources report events here, staff look at them."""

    @documented(
        "events",
        "events_list",
        "List raw events",
        answers={200: SendingEventSerializer},
        query=EventQuery,
        pages=NewestFirst,
    )
    def get(self, request: Request) -> Response:
        """Raw events of the last 24 hours, or of the stretch asked for; the last received first."""
        query = query_of(request, EventQuery)
        since = None if "to" in query else timezone.now() - SHOWN_BY_DEFAULT
        rows = between(SendingEvent.objects.select_related("source"), "occurred_at", query, since=since)
        start = query.get("from", since)
        if start is not None:
            rows = rows.filter(received_at__gte=received_from(start))
        rows = equal(rows, query, ("type", "sending_ip", "sending_domain", "recipient_domain", "provider", "cause"))
        rows = with_code(rows, query.get("code"))
        if "source" in query:
            rows = rows.filter(source__name=query["source"])
        return page_of(request, rows, SendingEventSerializer, NewestFirst)


class Volumes(StaffMayRead, VolumesEndpoint):
    """Sources report volumes here, staff look at them."""

    @documented(
        "events",
        "volumes_list",
        "List reported volumes",
        answers={200: VolumeReportSerializer},
        query=VolumeQuery,
        pages=NewestFirst,
    )
    def get(self, request: Request) -> Response:
        """Reported volumes, the last reported first."""
        query = query_of(request, VolumeQuery)
        rows = between(VolumeReport.objects.select_related("source"), "end", query)
        rows = equal(rows, query, ("sending_ip",))
        if "source" in query:
            rows = rows.filter(source__name=query["source"])
        return page_of(request, rows, VolumeReportSerializer, NewestFirst)


def with_code(rows: QuerySet[SendingEvent], code: str | None) -> QuerySet[SendingEvent]:
    """Events that are counted under this code: the enhanced code, else the three digits."""
    if code is None:
        return rows
    found = Q(enhanced_code=code)
    if code.isascii() and code.isdigit() and len(code) == 3:
        found = Q(enhanced_code="", smtp_code=int(code))
    return rows.filter(found)

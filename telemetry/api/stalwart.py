"""Where Stalwart's own webhook posts."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from telemetry import intake, stalwart
from telemetry.api.serializers import AcceptedSerializer
from telemetry.api.webhooks import PROBLEMS, SourceView
from telemetry.domain.errors import ParseError
from telemetry.errors import BadBody, BodyTooLarge
from telemetry.metrics import INGEST_SECONDS


class StalwartAcceptedSerializer(AcceptedSerializer):
    """What became of a batch of Stalwart's events."""

    recorded = serializers.IntegerField(help_text="Outcomes that were counted now; several events make one.")
    held = serializers.IntegerField(help_text="Outcomes that wait for the rest of their attempt.")
    ignored = serializers.IntegerField(help_text="Events that say nothing about delivery, or are unknown.")


class StalwartWebhook(SourceView):
    """Stalwart's webhook as the server sends it, `X-Signature` included where the source has a signature key.

    A 2xx means that every event is stored: counted, held until the rest of its delivery attempt has come, counted as
    unused, or kept as rejected. Retries may repeat any of it under new ids.
    """

    @extend_schema(
        tags=["ingest"],
        request={"application/json": OpenApiTypes.OBJECT},
        responses={200: StalwartAcceptedSerializer, **PROBLEMS},
        summary="Report Stalwart's events",
    )
    def post(self, request: Request) -> Response:
        """Take a batch."""
        with INGEST_SECONDS.time():
            media_type = (request.content_type or "").partition(";")[0].strip().lower()
            if media_type != "application/json":
                raise exceptions.UnsupportedMediaType(
                    media_type or "none", detail=f"Send application/json, not {media_type or 'nothing'}."
                )
            raw_events = self._split(self.body_of(request))
            taken = stalwart.take_in(self.source_of(request), raw_events, now=timezone.now())
            return Response(taken.as_answer())

    def _split(self, body: bytes) -> list[bytes]:
        try:
            raw_events: list[Any] = intake.split_envelope(body)
        except ParseError as error:
            raise BadBody(error.field, error.message) from None
        if len(raw_events) > settings.MAX_EVENTS_PER_REQUEST:
            raise BodyTooLarge(f"A request may hold {settings.MAX_EVENTS_PER_REQUEST} events, not {len(raw_events)}.")
        return raw_events

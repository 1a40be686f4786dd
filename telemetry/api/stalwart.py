"""Where Stalwart's own webhook posts."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from telemetry import intake, limits, stalwart
from telemetry.api.serializers import AcceptedSerializer
from telemetry.api.webhooks import PROBLEMS, SourceView
from telemetry.domain.errors import ParseError
from telemetry.errors import BadBody, BodyTooLarge
from telemetry.metrics import INGEST_SECONDS

log = logging.getLogger(__name__)


_BATCH = {
    "type": "object",
    "required": ["events"],
    "properties": {"events": {"type": "array", "items": {}, "description": "As Stalwart's webhook sends them."}},
}


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
        request={"application/json": _BATCH},
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
            body = self._whole_body(request)
            raw_events = self._split(body)
            limits.spend(self.source_of(request), events=len(raw_events))
            with self.batch_of(body):
                taken = stalwart.take_in(self.source_of(request), raw_events, now=timezone.now())
            return Response(taken.as_answer())

    def _whole_body(self, request: Request) -> bytes:
        try:
            return self.body_of(request)
        except BodyTooLarge as error:
            raise self._larger_than("GS_MAX_BODY_BYTES", settings.MAX_BODY_BYTES, str(error.detail)) from None

    def _split(self, body: bytes) -> list[bytes]:
        try:
            raw_events: list[Any] = intake.split_envelope(body)
        except ParseError as error:
            raise BadBody(error.field, error.message) from None
        if len(raw_events) > settings.MAX_EVENTS_PER_REQUEST:
            limit = settings.MAX_EVENTS_PER_REQUEST
            what = f"The body holds {len(raw_events)} events; the limit is {limit}."
            raise self._larger_than("GS_MAX_EVENTS_PER_REQUEST", limit, what)
        return raw_events

    def _larger_than(self, setting: str, limit: int, what: str) -> BodyTooLarge:
        """The refusal of a batch, which will come again as it is: it says what the operator can set."""
        log.warning("a batch of Stalwart's is over the limit", extra={"setting": setting, "limit": limit})
        return BodyTooLarge(
            f"{what} Stalwart never splits a batch, and drops it when it is older than its discardAfter (5 minutes): "
            f"raise {setting} at Good Standing and restart it, or lower the throttle of Stalwart's webhook."
        )

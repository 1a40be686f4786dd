"""Where sources report: the documented webhook, generic events, volumes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from django.conf import settings
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import exceptions
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from telemetry import intake, limits, volumes
from telemetry.api.serializers import (
    AcceptedSerializer,
    DocumentedBatchSerializer,
    GenericEventSerializer,
    ProblemSerializer,
    VolumeAnswerSerializer,
    VolumeReportSerializer,
)
from telemetry.authentication import SourceAuthentication, signature_is_right
from telemetry.domain.errors import ParseError
from telemetry.errors import BadBody, BodyTooLarge
from telemetry.log_context import BATCH_HEADER, batch_id, bound
from telemetry.metrics import INGEST_SECONDS
from telemetry.models import Source
from telemetry.parsers.base import Parser
from telemetry.parsers.documented import DOCUMENTED
from telemetry.parsers.generic import GENERIC
from telemetry.permissions import SourcesReport

Split = Callable[[bytes], list[bytes]]
PROBLEM = OpenApiResponse(ProblemSerializer, description="Problem details; nothing of this request was stored.")
PROBLEMS = dict.fromkeys((400, 401, 403, 413, 415, 429, 503), PROBLEM)


class RawBody(BaseParser):
    """Hands the body on as bytes: signatures are over bytes, and each event is decoded by itself."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The body, at most one byte over the limit."""
        return bytes(stream.read(settings.MAX_BODY_BYTES + 1))


class SourceView(APIView):
    """What every endpoint for sources does before it looks at the events."""

    authentication_classes = [SourceAuthentication]
    permission_classes = [SourcesReport]
    parser_classes = [RawBody]

    def body_of(self, request: Request) -> bytes:
        """The raw body, within the limit and rightly signed where the source has a key; raises 429, 413 and 401."""
        limits.spend(self.source_of(request), requests=1)
        declared = request.META.get("CONTENT_LENGTH") or "0"
        if declared.isdigit() and int(declared) > settings.MAX_BODY_BYTES:
            raise BodyTooLarge(f"The body has {declared} bytes; the limit is {settings.MAX_BODY_BYTES}.")
        body: Any = request.data
        if not isinstance(body, bytes):
            raise BadBody("body", "is empty")
        if len(body) > settings.MAX_BODY_BYTES:
            raise BodyTooLarge(f"The body is over the limit of {settings.MAX_BODY_BYTES} bytes.")
        source = self.source_of(request)
        if source.hmac_key_sealed and not signature_is_right(source, request.headers.get("X-Signature", ""), body):
            raise exceptions.AuthenticationFailed("X-Signature is missing or does not fit the body.")
        return body

    def batch_of(self, body: bytes) -> AbstractContextManager[None]:
        """Name this body in the answer, and in the lines of the log that are written meanwhile."""
        self.headers[BATCH_HEADER] = name = batch_id(body)
        return bound(batch_id=name)

    def source_of(self, request: Request) -> Source:
        """The source whose token came with the request."""
        assert isinstance(request.auth, Source)
        return request.auth


class EventsView(SourceView):
    """Takes a body of events in one of the formats, by content type."""

    parser: ClassVar[Parser]
    splits: ClassVar[dict[str, Split]]

    def take_in(self, request: Request) -> Response:
        """Record the body's events and answer what became of each; 415 for a content type not listed."""
        with INGEST_SECONDS.time():
            media_type = (request.content_type or "").partition(";")[0].strip().lower()
            split = self.splits.get(media_type)
            if split is None:
                raise exceptions.UnsupportedMediaType(
                    media_type or "none", detail=f"Send {' or '.join(self.splits)}, not {media_type or 'nothing'}."
                )
            body = self.body_of(request)
            try:
                raw_events = split(body)
            except ParseError as error:
                raise BadBody(error.field, error.message) from None
            if len(raw_events) > settings.MAX_EVENTS_PER_REQUEST:
                raise BodyTooLarge(
                    f"A request may hold {settings.MAX_EVENTS_PER_REQUEST} events, not {len(raw_events)}."
                )
            limits.spend(self.source_of(request), events=len(raw_events))
            with self.batch_of(body):
                taken = intake.take_in(self.source_of(request), self.parser, raw_events, now=timezone.now())
            return Response(taken.as_answer())


@extend_schema(
    tags=["ingest"],
    request={"application/json": DocumentedBatchSerializer},
    responses={200: AcceptedSerializer, **PROBLEMS},
    summary="Report delivery failures and successes",
)
class DeliveryFailureWebhook(EventsView):
    """`smtp.delivery.failure` and `smtp.delivery.success` events; each counts once, whatever is sent again."""

    parser = DOCUMENTED
    splits: ClassVar = {"application/json": intake.split_envelope}

    def post(self, request: Request) -> Response:
        """Take a batch."""
        return self.take_in(request)


class EventsEndpoint(EventsView):
    """Events in our own words, as a JSON array or NDJSON."""

    parser = GENERIC
    splits: ClassVar = {
        "application/json": intake.split_array,
        "application/x-ndjson": intake.split_lines,
        "application/ndjson": intake.split_lines,
        "application/jsonl": intake.split_lines,
    }

    @extend_schema(
        tags=["ingest"],
        request={
            "application/json": GenericEventSerializer(many=True),
            "application/x-ndjson": OpenApiTypes.STR,
        },
        responses={200: AcceptedSerializer, **PROBLEMS},
        summary="Report events of any kind",
    )
    def post(self, request: Request) -> Response:
        """Take a batch."""
        return self.take_in(request)


@extend_schema(
    tags=["ingest"],
    request={"application/json": VolumeReportSerializer},
    responses={200: VolumeAnswerSerializer, 409: PROBLEM, **PROBLEMS},
    summary="Report how many messages an IP sent",
)
class VolumesEndpoint(SourceView):
    """Volume of sources that report only failures. One report or a list; a repeated stretch replaces its number."""

    def post(self, request: Request) -> Response:
        """Store the reports, all or none."""
        body = self.body_of(request)
        try:
            reports = [volumes.parse(raw, now=timezone.now()) for raw in intake.split_array(body)]
            stored = volumes.report(self.source_of(request), reports, now=timezone.now())
        except ParseError as error:
            raise BadBody(error.field, error.message) from None
        return Response({"status": "success", "stored": stored})

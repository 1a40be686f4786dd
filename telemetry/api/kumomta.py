"""Where KumoMTA's log hook posts its records."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from telemetry import intake
from telemetry.api.serializers import AcceptedSerializer
from telemetry.api.webhooks import PROBLEMS, EventsView
from telemetry.parsers.kumomta import KUMOMTA


class KumoMtaWebhook(EventsView):
    """KumoMTA log records: one JSON object, an array of them, or NDJSON; each counts once, whatever is sent again.

    A 2xx means that every record is stored, ignored because it says nothing about delivery, or kept as rejected. A body
    that can never be read is answered 400, which tells a log hook not to send it again.
    """

    parser = KUMOMTA
    splits: ClassVar = {"application/json": intake.split_array, "application/x-ndjson": intake.split_lines}

    @extend_schema(
        tags=["ingest"],
        request={"application/json": OpenApiTypes.OBJECT, "application/x-ndjson": OpenApiTypes.STR},
        responses={200: AcceptedSerializer, **PROBLEMS},
        summary="Report KumoMTA log records",
    )
    def post(self, request: Request) -> Response:
        """Take one record or a batch."""
        return self.take_in(request)

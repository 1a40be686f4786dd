"""The shaping file that a KumoMTA reads, for `kumo.shaping.load`."""

from __future__ import annotations

import hashlib
from typing import Any

from django.http import HttpResponse, HttpResponseBase
from django.utils import timezone
from django.utils.cache import get_conditional_response
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from reputation.api.permits import EITHER_TOKEN, AnyToken, BearerOfEither
from reputation.enforcement.kumomta_shaping import shaping_file
from reputation.models import KumoServer
from telemetry.api.common import ApiView
from telemetry.api.webhooks import PROBLEM
from telemetry.domain.vocab import SourceKind
from telemetry.models import Source


class MayReadShaping(BasePermission):
    """The KumoMTA itself by its source's token, or staff."""

    message = "This needs the token of a source of kind kumomta, or a staff member's API token."

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether this caller may read."""
        if isinstance(request.auth, Source):
            return request.auth.kind == SourceKind.KUMOMTA
        return bool(request.user and request.user.is_staff)


class Toml(BaseRenderer):
    """Hands the written file on."""

    media_type = "application/toml"
    format = "toml"
    charset = "utf-8"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        """Only problems come this way, as JSON: the file itself is answered as it is."""
        return bytes(JSONRenderer().render(data, "application/json", renderer_context))


class ShapingFile(ApiView):
    """The shaping file of a KumoMTA, for `kumo.shaping.load`."""

    authentication_classes = [AnyToken, BearerOfEither]
    permission_classes = [MayReadShaping]
    renderer_classes = [Toml, JSONRenderer]

    @extend_schema(
        tags=["kumomta"],
        auth=EITHER_TOKEN,
        operation_id="kumomta_shaping",
        summary="The shaping file that KumoMTA reads",
        parameters=[
            OpenApiParameter("server", str, description="A server's name. Not needed where there is only one to mean.")
        ],
        responses={
            (200, "application/toml"): OpenApiTypes.STR,
            304: None,
            **{(code, "application/problem+json"): PROBLEM for code in (400, 401, 403, 404, 503)},
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Limits by sending IP and mailbox provider; the same text, and the same ETag, until one of them changes."""
        unknown = sorted(set(request.query_params) - {"server"})
        if unknown:
            raise serializers.ValidationError({name: ["There is no such parameter."] for name in unknown})
        text = shaping_file(_server_of(request), now=timezone.now())
        etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
        answer = HttpResponse(text, content_type="application/toml; charset=utf-8", headers={"ETag": etag})
        answer.headers["Cache-Control"] = "private, no-cache"
        return get_conditional_response(request._request, etag=etag, response=answer) or answer


def _server_of(request: Request) -> KumoServer:
    """The server whose file is asked for: a source reads its own servers' alone. Raises 404 where it is not clear."""
    rows, whose = KumoServer.objects.filter(is_active=True), ""
    if isinstance(request.auth, Source):
        rows, whose = rows.filter(source=request.auth), f" of the source {request.auth}"
    name = request.query_params.get("server")
    found = list((rows.filter(name=name) if name else rows).order_by("name")[:2])
    if len(found) > 1:
        raise exceptions.NotFound("There are several servers: name one with ?server=.")
    if not found:
        raise exceptions.NotFound(f"There is no such active KumoMTA server{whose}.")
    return found[0]

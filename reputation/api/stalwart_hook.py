"""Where Stalwart's MTA hook asks."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import Error as DatabaseError
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from reputation import permit_keeper
from reputation.api.permits import SOURCE_TOKEN
from reputation.domain.stalwart_hook import Count, parse
from reputation.enforcement import stalwart
from telemetry.api.webhooks import PROBLEMS
from telemetry.authentication import SourceAuthentication, refuse_strangers
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import SourceKind
from telemetry.errors import BadBody
from telemetry.models import Source
from telemetry.permissions import SourcesReport
from telemetry.secrets import digest

_CHUNK = 64 * 1024
# More tokens than anybody gives to mail servers.
_MOST_KNOWN = 100


class Beginning(BaseParser):
    """The beginning of a body, as bytes. The rest (the message itself) is taken off the line and thrown away."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """At most as many bytes as any other body may have."""
        kept = bytes(stream.read(settings.MAX_BODY_BYTES))
        while stream.read(_CHUNK):
            pass
        return kept


class KnownSource(SourceAuthentication):
    """A source that was let in before is let in while the database is away: mail waits for this answer."""

    # By the digest of the Authorization header.
    _known: ClassVar[dict[str, Source]] = {}

    def authenticate(self, request: Request) -> tuple[Any, Any]:
        """Nobody in particular and the source. Raises DatabaseError for one that this process has not seen yet."""
        header = request.headers.get("Authorization", "")
        try:
            user, source = super().authenticate(request)
        except DatabaseError:
            known = self._known.get(_digest(header))
            if known is None:
                raise
            refuse_strangers(known, request._request)
            return AnonymousUser(), known
        except exceptions.APIException:
            self._known.pop(_digest(header), None)
            raise
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[_digest(header)] = source
        return user, source


def _digest(header: str) -> str:
    return digest("known-source", header)


class HookAnswerSerializer(serializers.Serializer[Any]):
    """What Stalwart reads."""

    action = serializers.ChoiceField(choices=["accept", "reject"])
    response = serializers.DictField(required=False, help_text="The SMTP reply, where the action is reject.")
    modifications = serializers.ListField(help_text="Always empty.")


class StalwartHook(APIView):
    """Stalwart's MTA hook (v0.11 to v0.16). No body is signed by it: the source's token alone lets it in."""

    authentication_classes = [KnownSource]
    permission_classes = [SourcesReport]
    parser_classes = [Beginning]

    @extend_schema(
        tags=["permits"],
        auth=SOURCE_TOKEN,
        operation_id="stalwart_hook",
        summary="Answer Stalwart's MTA hook",
        request={"application/json": OpenApiTypes.OBJECT},
        parameters=[
            OpenApiParameter(
                "count",
                str,
                enum=[word.value for word in Count],
                description="The one stage whose recipients are counted against limits; data unless given.",
            )
        ],
        responses={200: HookAnswerSerializer, **{code: PROBLEMS[code] for code in (400, 401, 403, 503)}},
    )
    def post(self, request: Request) -> Response:
        """Accept, or hold back with a reply for the client, at the stages mail, rcpt and data."""
        source, count = self._source(request), self._count(request)
        body: Any = request.data
        try:
            call = parse(body if isinstance(body, bytes) else b"")
        except ParseError as error:
            raise BadBody(error.field, error.message) from None
        told = stalwart.answer(call, source, count=count, now=timezone.now())
        permit_keeper.ensure()
        return Response(told)

    def _source(self, request: Request) -> Source:
        assert isinstance(request.auth, Source)
        if request.auth.kind != SourceKind.STALWART:
            raise exceptions.PermissionDenied(
                f"The source {request.auth} is of kind {request.auth.kind}, not stalwart."
            )
        return request.auth

    def _count(self, request: Request) -> Count:
        unknown = sorted(set(request.query_params) - {"count"})
        if unknown:
            raise BadBody(unknown[0], "There is no such parameter.")
        word = request.query_params.get("count") or Count.DATA.value
        if word not in set(Count):
            raise BadBody("count", f"Give {' or '.join(Count)}, not {word[:100]!r}.")
        return Count(word)

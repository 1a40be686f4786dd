"""Where ESPs post their events: each provider's own format, with its own signature."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from django.http.request import UnreadablePostError
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import exceptions, serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from telemetry import intake, limits
from telemetry.api.common import KnownUrls
from telemetry.api.serializers import AcceptedSerializer
from telemetry.api.webhooks import PROBLEM, PROBLEMS, SourceView
from telemetry.authentication import SourceAuthentication, SourceScheme, refuse_strangers
from telemetry.domain.errors import ParseError
from telemetry.errors import BadBody, BodyTooLarge
from telemetry.esp import sns
from telemetry.esp.bodies import NotGenuineError, check, records
from telemetry.esp.catalogue import ESPS, Esp
from telemetry.esp.parsers import ESP_PARSERS, parser_name
from telemetry.metrics import INGEST_SECONDS
from telemetry.models import Source


class EspAuthentication(SourceAuthentication):
    """The source's token as a Basic password, which is what an ESP can send: https://any:gs_…@host/…"""

    def authenticate(self, request: Request) -> tuple[object, object] | None:  # type: ignore[override]
        """The source if a token came; nobody otherwise, as a signature may stand for it."""
        return super().authenticate(request) if "Authorization" in request.headers else None

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for; Amazon SNS sends its password only after it was asked like this."""
        return 'Basic realm="Good Standing source"'


class EspScheme(SourceScheme):  # type: ignore[no-untyped-call]
    """How the OpenAPI document describes it."""

    target_class = EspAuthentication
    name = "sourcePassword"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """A Basic password."""
        return {"type": "http", "scheme": "basic", "description": "Any user; the password is the token of a source."}


_WHERE = [
    OpenApiParameter("source", str, "path", description="Name of the source."),
    OpenApiParameter("esp", str, "path", enum=sorted(ESPS), description="The provider."),
]
_REFUSED = dict.fromkeys((401, 403, 404), PROBLEM)


class EspWebhook(KnownUrls, SourceView):
    """Events of an ESP account. Genuine is what carries the source's token, or the provider's signature.

    Where the source holds the provider's signing key, the signature is asked for in any case. Events that are no
    outcome at a mail server (opens, clicks, what the provider itself suppressed) are answered 200 and not stored.
    """

    authentication_classes = [EspAuthentication]
    permission_classes = [AllowAny]  # who may report depends on the body: see _source

    @extend_schema(
        tags=["ingest"],
        request={"application/json": OpenApiTypes.OBJECT, "application/x-www-form-urlencoded": OpenApiTypes.OBJECT},
        responses={200: AcceptedSerializer, **PROBLEMS, 404: PROBLEM},
        parameters=_WHERE,
        summary="Report an ESP's events",
    )
    def post(self, request: Request, source: str, esp: str) -> Response:
        """Take what the provider sends."""
        with INGEST_SECONDS.time():
            provider = _provider(esp)
            sent = _readable(request)
            reporter, key = self._source(request, source, provider)
            limits.spend(reporter, requests=1)
            try:
                check(provider, key, sent)
                if url := sns.subscribe_url(sent.body) if provider.slug == "amazon_ses" else "":
                    return self._subscribe(url)
                raw = records(provider, sent)
            except NotGenuineError as error:
                raise exceptions.AuthenticationFailed(str(error)) from None
            except ParseError as error:
                raise BadBody(error.field, error.message) from None
            if len(raw) > settings.MAX_EVENTS_PER_REQUEST:
                raise BodyTooLarge(f"A request may hold {settings.MAX_EVENTS_PER_REQUEST} events, not {len(raw)}.")
            limits.spend(reporter, events=len(raw))
            parser = ESP_PARSERS[parser_name(provider.slug)]
            return Response(intake.take_in(reporter, parser, raw, now=timezone.now()).as_answer())

    @extend_schema(
        tags=["ingest"],
        responses={200: inline_serializer("EspReady", {"status": serializers.CharField()}), **_REFUSED},
        parameters=_WHERE,
        summary="Show that an ESP may report here",
    )
    def get(self, request: Request, source: str, esp: str) -> Response:
        """Some providers look whether there is anything here before they accept the URL."""
        _provider(esp)
        return Response({"status": "success"})

    def _source(self, request: Request, name: str, esp: Esp) -> tuple[Source, str]:
        """The source and the key to check with, empty when the token is what shows that it is genuine."""
        told: Source | None = request.auth if isinstance(request.auth, Source) else None
        found = told if told is not None and told.name == name else Source.objects.filter(name=name).first()
        by_token = told is not None and told == found
        signed = found is not None and esp.signs and bool(found.hmac_key_sealed)
        if found is None or not (by_token or signed) or (told is not None and not by_token):
            raise exceptions.NotAuthenticated(
                "Send the source's token as the password of the URL, or give the source the provider's signing key."
            )
        if not found.is_active:
            raise exceptions.PermissionDenied(f"The source {found.name} is not active.")
        if not by_token:  # with a token this was looked at when it was read
            refuse_strangers(found, request._request)
        return found, found.hmac_key if signed else ""

    def _subscribe(self, url: str) -> Response:
        try:
            sns.confirm(url)
        except sns.CannotConfirmError as error:
            raise BadBody("SubscribeURL", str(error)) from None
        return Response({"status": "success", "processed": 0, "failed": 0, "total": 0, "duplicates": 0, "errors": []})


def _provider(slug: str) -> Esp:
    esp = ESPS.get(slug)
    if esp is None:
        raise exceptions.NotFound(f"There is no ESP {slug[:40]!r}. There are {', '.join(ESPS)}.")
    return esp


def _readable(request: Request) -> HttpRequest:
    """Django's request, whose body can be read again and again. Raises 413 and 400."""
    sent: HttpRequest = request._request
    try:
        if not sent.body:
            raise BadBody("body", "is empty")
    except RequestDataTooBig:
        raise BodyTooLarge(f"The body is over the limit of {settings.MAX_BODY_BYTES} bytes.") from None
    except UnreadablePostError:
        raise BadBody("body", "was not sent to its end") from None
    return sent

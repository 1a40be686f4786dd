"""What every endpoint for people and their scripts shares: bodies, query parameters, pages, its description."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.db.models import Model, QuerySet
from django.utils import timezone
from django.views.decorators.http import conditional_page
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema, inline_serializer
from rest_framework import exceptions, serializers
from rest_framework.pagination import BasePagination
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from telemetry import access
from telemetry.access import Actor
from telemetry.api.serializers import ProblemSerializer
from telemetry.api.strict import UNSTORABLE, is_storable, refuse_wrong_types
from telemetry.client_address import address_of
from telemetry.domain import clean
from telemetry.domain.access import AccessKind
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.errors import BadBody, BodyTooLarge
from telemetry.pagination import MOST_ROWS, Pages
from telemetry.pagination import NewestFirst as NewestFirst

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Model)
Shape = type[serializers.BaseSerializer[Any]]
# No row has a higher id, and SQLite cannot even ask for one.
HIGHEST_ID = 2**63 - 1


class Json(BaseParser):
    """JSON within the size limit; nesting too deep for Python is the sender's mistake and not ours."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The decoded body. Raises 400 and 413."""
        raw = stream.read(settings.MAX_BODY_BYTES + 1)
        if len(raw) > settings.MAX_BODY_BYTES:
            raise BodyTooLarge(f"The body is over the limit of {settings.MAX_BODY_BYTES} bytes.")
        try:
            return JSONParser().parse(io.BytesIO(raw), media_type, parser_context)
        except exceptions.ParseError as error:
            raise BadBody("body", str(error)) from None
        except RecursionError:
            raise BadBody("body", "JSON parse error - nested too deeply") from None


class Query(serializers.Serializer[dict[str, Any]]):
    """Query parameters of a list; `ApiView` refuses those that it does not know."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """The checked parameters; those that were sent empty count as not sent."""
        given = {name: value for name, value in data.items() if value != ""}
        checked: dict[str, Any] = super().to_internal_value(given)
        return checked


class Body(serializers.Serializer[dict[str, Any]]):
    """A request's JSON object. A field that the endpoint does not know is refused."""

    refuses_unknown = True

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """The checked fields."""
        refuse_unknown(self, data)
        refuse_wrong_types(self, data)
        checked: dict[str, Any] = super().to_internal_value(data)
        return checked


class RowBody(serializers.ModelSerializer[M]):
    """A row as it is written. A field that the endpoint does not know, or that cannot be written, is refused."""

    refuses_unknown = True

    def to_internal_value(self, data: Any) -> Any:
        """The checked fields."""
        refuse_unknown(self, data)
        refuse_wrong_types(self, data)
        return super().to_internal_value(data)


def refuse_unknown(shape: serializers.Serializer[Any], data: Any) -> None:
    """Raise 400 naming each field that is not the endpoint's or cannot be written."""
    if isinstance(data, Mapping):
        known = {name for name, field in shape.fields.items() if not field.read_only}
        unknown = sorted(str(name) for name in set(data) - known)
        if unknown:
            raise serializers.ValidationError({name: ["There is no such field to write."] for name in unknown})


class PeriodQuery(Query):
    """A list that can be narrowed to a stretch of time."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Add `from` and `to`; the first is a word of Python's."""
        fields = super().get_fields()
        fields["from"] = serializers.DateTimeField(required=False, help_text="From this moment on (RFC 3339).")
        fields["to"] = serializers.DateTimeField(required=False, help_text="Before this moment (RFC 3339).")
        return fields

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A stretch ends after it begins."""
        if attrs.get("from") and attrs.get("to") and attrs["to"] <= attrs["from"]:
            raise serializers.ValidationError({"to": "This does not lie after `from`."})
        return attrs


class IpField(serializers.CharField):
    """An IP address in its canonical form."""

    def to_internal_value(self, data: Any) -> str:
        """The canonical form. Raises ValidationError."""
        return _canonical(clean.ip, super().to_internal_value(data))


class DomainField(serializers.CharField):
    """A domain in its canonical form: lower-case A-labels."""

    def to_internal_value(self, data: Any) -> str:
        """The canonical form. Raises ValidationError."""
        return _canonical(clean.domain, super().to_internal_value(data))


def _canonical(form: Callable[[str, str], str], value: str) -> str:
    try:
        return form(value, "")
    except ParseError as error:
        raise serializers.ValidationError(f"{value[:100]!r} {error.message}.") from None


class KnownUrls(APIView):
    """A view that refuses what no URL of its can say, and answers 304 to who has its answer already."""

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """The view; what is read from it has an ETag (RFC 9110 section 13)."""
        return conditional_page(super().as_view(**initkwargs))

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a query parameter that the operation does not know: a typo must not look like "no filter"."""
        super().initial(request, *args, **kwargs)
        if any(isinstance(value, int) and value > HIGHEST_ID for value in kwargs.values()):
            raise exceptions.NotFound("There is no such thing.")
        known = getattr(getattr(self, str(request.method).lower(), None), "query_names", None)
        unknown = sorted(set(request.query_params) - known) if known is not None else []
        if unknown:
            raise serializers.ValidationError({name[:100]: ["There is no such parameter."] for name in unknown})
        given = [*kwargs.items(), *request.query_params.lists()]
        unstorable = [name for name, value in given if not is_storable(value)]
        if unstorable:
            raise serializers.ValidationError({name[:100]: [UNSTORABLE] for name in unstorable})


class ApiView(KnownUrls):
    """An endpoint for people and their scripts. Reading needs staff, and `read_permission` where there is one.

    Writing needs `write_permission`, and leaves a row in the access log with who did it; where the view writes a better
    one itself, or what it does is a question and no act, `is_act` is False.
    """

    parser_classes = [Json]
    read_permission: str = ""
    write_permission: str = ""
    is_act: bool = True

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """The answer; an act that succeeded is written down."""
        if self.is_act and request.method not in SAFE_METHODS and response.status_code < 400:
            note_act(request)
        return super().finalize_response(request, response, *args, **kwargs)


def note_act(request: Request) -> None:
    """Write down who changed what by its URL, and the names of the fields that were sent; never their values."""
    given = sorted(request.data) if isinstance(request.data, dict) else []
    detail = f"{request.method} {request.path}" + (f" ({', '.join(map(str, given))})" if given else "")
    by = caller(request)
    token = getattr(request.auth, "prefix", "")
    try:
        access.record(AccessKind.ACTED, who=by.name, address=by.address, now=timezone.now(), token=token, detail=detail)
    except DatabaseError:
        # The act itself is done and has its own history: an error now would have it done twice.
        log.exception("an act could not be written into the access log", extra={"act": detail, "who": by.name})


def query_of(request: Request, shape: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    """The checked query parameters. Raises 400 naming the parameter."""
    return _checked(shape(data=request.query_params))


def body_of(request: Request, shape: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    """The checked body. Raises 400 naming the field."""
    return _checked(shape(data=request.data))


def page_of(
    request: Request,
    rows: QuerySet[M],
    shape: Shape,
    pages: type[BasePagination] = Pages,
    *,
    prepare: Callable[[list[M]], list[M]] = list,
) -> Response:
    """One page of the rows; `prepare` may add to the page's rows what they are shown with."""
    paginator = pages()
    page = prepare(list(paginator.paginate_queryset(rows, request) or []))
    return paginator.get_paginated_response(shape(page, many=True).data)


def person(request: Request) -> User:
    """Who is asking; the permissions have made sure that it is somebody."""
    assert isinstance(request.user, User)
    return request.user


def caller(request: Request) -> Actor:
    """Who is asking and from where, as the access log knows them."""
    return Actor(person(request).get_username(), address_of(request._request))


def _checked(shape: serializers.Serializer[Any]) -> dict[str, Any]:
    shape.is_valid(raise_exception=True)
    checked: dict[str, Any] = shape.validated_data
    return checked


def ip_in_path(value: str) -> str:
    """The canonical form of a sending IP in a URL. Raises 400 naming "ip"; the unknown IP has no standing."""
    address = _in_path("ip", clean.ip, value)
    if address == UNKNOWN_IP:
        raise BadBody("ip", f"The unknown IP has no standing; its events are at /api/events?sending_ip={UNKNOWN_IP}.")
    return address


def domain_in_path(value: str) -> str:
    """The canonical form of a domain in a URL. Raises 400 naming "domain"."""
    return _in_path("domain", clean.domain, value)


def _in_path(field: str, form: Callable[[str, str], str], value: str) -> str:
    try:
        return _canonical(form, value)
    except serializers.ValidationError as error:
        raise serializers.ValidationError({field: error.detail}) from None


def between(rows: QuerySet[M], column: str, query: dict[str, Any], *, since: datetime | None = None) -> QuerySet[M]:
    """Rows whose time lies in the query's stretch; `since` is where it begins when the query does not say."""
    start, end = query.get("from", since), query.get("to")
    if start is not None:
        rows = rows.filter(**{f"{column}__gte": start})
    return rows.filter(**{f"{column}__lt": end}) if end is not None else rows


def equal(rows: QuerySet[M], query: dict[str, Any], names: Iterable[str]) -> QuerySet[M]:
    """Rows whose columns equal those of the query's parameters of the same names that were given."""
    return rows.filter(**{name: query[name] for name in names if name in query})


def in_future(value: datetime) -> None:
    """A validator of expiries: raises for a moment that has passed."""
    if value <= timezone.now():
        raise serializers.ValidationError("This moment has passed.")


_WORDS = {
    400: "The request cannot be understood; `errors` names the field.",
    401: "No usable token or session came with the request.",
    403: "Your account may not do this.",
    404: "There is no such thing.",
    409: "The thing is in a state that does not allow this.",
    503: "Nobody can know or store this now; try again after Retry-After seconds.",
}


def documented(
    tag: str,
    operation: str,
    summary: str,
    *,
    answers: Mapping[int, Any],
    body: Any = None,
    query: type[serializers.Serializer[Any]] | None = None,
    pages: type[BasePagination] | None = None,
    problems: Sequence[int] = (),
    parameters: Sequence[OpenApiParameter] = (),
    examples: Sequence[OpenApiExample] = (),
) -> Callable[[F], F]:
    """Describe an operation in the OpenAPI document: its answers, and the problems that every operation can have.

    With `pages` the answer 200 is the shape of one row, and the document shows a page of them.
    """
    described: dict[Any, Any] = {}
    for status, shape in answers.items():
        described[status] = _page(shape, cast("Any", pages)) if pages is not None and status == 200 else shape
    wrong = {400, 401, 403, *problems} if body is not None or query is not None or pages else {401, 403, *problems}
    for status in sorted(wrong):
        described[status, "application/problem+json"] = _problem(status)
    told = extend_schema(
        tags=[tag],
        operation_id=operation,
        summary=summary,
        request=body,
        responses=described,
        parameters=[*([query] if query else []), *page_parameters(pages), *parameters],
        examples=list(examples),
    )
    in_url = [*page_parameters(pages), *parameters]
    names = {entry.name for entry in in_url if entry.location == OpenApiParameter.QUERY} | _names(query)

    def describe(handler: F) -> F:
        described_handler = told(handler)
        described_handler.query_names = names  # type: ignore[attr-defined]
        return described_handler

    return describe


def _names(query: type[serializers.Serializer[Any]] | None) -> set[str]:
    return set(query().fields) if query else set()


def _problem(status: int) -> Any:
    return OpenApiResponse(ProblemSerializer, description=_WORDS[status])


@cache  # one class per component: the document must not hold two of the same name
def _page(shape: Any, pages: Any) -> Any:
    name = shape.__name__.removesuffix("Serializer")
    fields: dict[str, Any] = {"results": shape(many=True)}
    counted = {"count": serializers.IntegerField()} if pages is Pages else {}
    return inline_serializer(f"{name}Page", {**counted, **_links(), **fields})


def _links() -> dict[str, Any]:
    return {
        "next": serializers.URLField(allow_null=True, help_text="The next page; null at the end."),
        "previous": serializers.URLField(allow_null=True),
    }


def page_parameters(pages: type[BasePagination] | None) -> list[OpenApiParameter]:
    """The parameters that say which page, as the document shows them."""
    if pages is None:
        return []
    size = OpenApiParameter(
        "page_size",
        {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": 50},
        description=f"Rows a page, {MOST_ROWS} at most.",
    )
    if pages is Pages:
        which = {"type": "integer", "minimum": 1, "maximum": 10**9, "default": 1}
        return [OpenApiParameter("page", which, description="Which page; behind the last one is 404."), size]
    return [OpenApiParameter("cursor", str, description="From the `next` link of the page before."), size]

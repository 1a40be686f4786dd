"""The OpenAPI document as the API is: what drf-spectacular cannot see in the serializers is said here, once.

Its parts are named in the settings: `Description` describes an operation, `complete` goes over the finished document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import force_instance, is_serializer
from rest_framework import serializers

from telemetry.api.strict import DECIMAL, DURATION, TIME
from telemetry.authentication import ApiTokenAuthentication
from telemetry.scopes import scope_needed

Document = dict[str, Any]
Operation = dict[str, Any]

IP: Final = {"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}]}
ID: Final = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
PROBLEM_TYPE: Final = "application/problem+json"
_PROBLEM: Final = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
# Columns of JSON whose entries are text: names, addresses.
_OF_TEXT: Final = {"ip_map", "domain_names", "allowed_networks", "egress_sources", "test_listed", "test_clear"}
# What a parameter in a path is, wherever it stands.
_IN_PATHS: Final[dict[str, dict[str, Any]]] = {
    "ip": IP,
    "id": ID,
    "domain": {"type": "string", "minLength": 1, "maxLength": 253},
    "prefix": {"type": "string", "pattern": "^[a-z0-9]{12}$"},
}
# A character that Python's str.strip() leaves.
_NOT_BLANK: Final = "[^\\s\\u001c-\\u001f\\u0085]"
# The problems that stand behind every operation, and when. An operation may have more of its own.
_ALWAYS: Final = {
    "400": "The request cannot be understood; `errors` names the field or parameter.",
    "406": "The Accept header takes nothing that this operation answers with.",
    "503": "The database cannot be written or read now; try again after Retry-After seconds.",
}
_WITH_BODY: Final = {"413": "The body is too large.", "415": "A content type that is not taken."}
_WITH_PATH: Final = {"404": "There is no such thing."}
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "401": {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "How to say who asks."}},
    "429": {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds."}},
    "503": {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds."}},
}
_BY_ID: Final = {"id": "$response.body#/id"}
# An operation that makes a thing → where the thing is found, and by what; the others are found below their own path.
_MADE_AT: Final = {
    "/api/breakers/open": ("/api/breakers/{id}", _BY_ID),
    "/api/warmups/start": ("/api/warmups/{id}", _BY_ID),
    "/api/sources/{id}/tokens": (
        "/api/sources/{id}/tokens/{prefix}",
        {"id": "$request.path.id", "prefix": "$response.body#/prefix"},
    ),
}


class Description(AutoSchema):
    """An operation of ours."""

    def get_description(self) -> str:  # type: ignore[override]
        """The view's own words, then the scope that an API token needs, where one opens it at all."""
        said = str(super().get_description() or "")
        if not any(isinstance(way, ApiTokenAuthentication) for way in self.view.get_authenticators()):
            return said
        return f"{said}\n\nScope of the API token: `{scope_needed(self.method, self.view)}`.".strip()

    def _get_request_for_media_type(self, serializer: Any, direction: Any = "request") -> Any:
        """A PATCH is partial where its serializer is; a body that needs a reason needs it there too."""
        told: Any = force_instance(serializer)  # type: ignore[no-untyped-call]
        if self.method == "PATCH" and is_serializer(told) and not told.partial:
            component = self.resolve_serializer(told, direction)
            return component.ref, bool(component.schema.get("required"))
        return super()._get_request_for_media_type(serializer, direction)  # type: ignore[no-untyped-call]

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        """Bodies that refuse unknown fields say so."""
        schema = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        if direction == "request" and getattr(serializer, "refuses_unknown", False):
            schema["additionalProperties"] = False
        return schema

    def _map_serializer_field(self, field: Any, direction: Any, bypass_extensions: bool = False) -> Any:
        """Text that must not be empty must not be blanks either; lists of objects say how long they may be."""
        schema = super()._map_serializer_field(field, direction, bypass_extensions)  # type: ignore[no-untyped-call]
        is_text = type(field) is serializers.CharField and field.trim_whitespace and not field.allow_blank
        if is_text and direction == "request" and schema.get("type") == "string":
            schema.setdefault("pattern", _NOT_BLANK)
        if isinstance(field, serializers.ListSerializer):
            for word, name in (("minItems", "min_length"), ("maxItems", "max_length")):
                if getattr(field, name, None) is not None:
                    schema[word] = getattr(field, name)
        return schema


class _Field(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    match_subclasses = True
    schema: dict[str, Any]

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """The schema."""
        return dict(self.schema)


class DurationScheme(_Field):  # type: ignore[no-untyped-call]
    """Days, hours, minutes, seconds."""

    target_class = serializers.DurationField
    schema = {"type": "string", "pattern": DURATION, "example": "1 00:00:00"}


class TimeScheme(_Field):  # type: ignore[no-untyped-call]
    """A time of day, without an offset: its zone is a field of its own."""

    target_class = serializers.TimeField
    schema = {"type": "string", "pattern": TIME, "example": "22:00"}


class IpScheme(_Field):  # type: ignore[no-untyped-call]
    """An address of either version."""

    target_class = "telemetry.api.common.IpField"
    schema = IP


class IpAddressScheme(_Field):  # type: ignore[no-untyped-call]
    """An address of either version, as Django REST framework's own field has it."""

    target_class = serializers.IPAddressField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """An address, or nothing where that is allowed."""
        none = [{"type": "string", "maxLength": 0}] if self.target.allow_blank else []
        return {"anyOf": [*IP["anyOf"], *none]}


class DomainScheme(_Field):  # type: ignore[no-untyped-call]
    """A domain, in A-labels or not."""

    target_class = "telemetry.api.common.DomainField"
    schema = {"type": "string", "minLength": 1, "maxLength": 253}


class DecimalScheme(_Field):  # type: ignore[no-untyped-call]
    """Decimals are answered as text, which no reader rounds; a JSON number is taken too."""

    target_class = serializers.DecimalField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """Text, or a number where it is sent."""
        whole, places = self.target.max_whole_digits, self.target.decimal_places
        exact = rf"^-?\d{{1,{max(whole, 1)}}}(?:\.\d{{1,{places}}})?$" if whole is not None and places else DECIMAL
        text = {"type": "string", "pattern": exact}
        if direction == "response":
            return text
        number: dict[str, Any] = {"type": "number"}
        for word, limit in (("minimum", self.target.min_value), ("maximum", self.target.max_value)):
            if limit is not None:
                number[word] = float(limit)
        return {"anyOf": [text, number]}


class JsonScheme(_Field):  # type: ignore[no-untyped-call]
    """A column of JSON: an object or a list, by what it begins as."""

    target_class = serializers.JSONField
    priority = -1

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """An object, a list, or anything."""
        model = getattr(getattr(self.target.parent, "Meta", None), "model", None)
        column = model._meta.get_field(self.target.source) if model is not None else None
        begins_as = getattr(column, "default", None)
        holds: dict[str, Any] = {"type": "string"} if self.target.field_name in _OF_TEXT else {}
        if begins_as is list:
            return {"type": "array", "items": holds}
        return {"type": "object", "additionalProperties": holds} if begins_as is dict else {}


def complete(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """Say what every operation has in common: its problems, what stands in paths, and where a made thing is found."""
    for path, method, told in operations(result):
        _describe_parameters(told)
        _describe_problems(path, told)
        if "ingest" in told["tags"] and "requestBody" in told:
            told["requestBody"]["required"] = True
        if method == "post":
            _link(result, path, told)
        elif method == "get" and {"apiToken": []} in told["security"]:
            _describe_etag(told)
    return result


def operations(document: Document) -> Iterator[tuple[str, str, Operation]]:
    """Every operation with its path and method."""
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            yield path, method, told


def _describe_parameters(told: Operation) -> None:
    for parameter in told.get("parameters", []):
        if parameter["in"] == "path" and parameter["name"] in _IN_PATHS:
            parameter["schema"] = dict(_IN_PATHS[parameter["name"]])
        # A filter that is sent empty counts as not sent: forms and scripts do so.
        if parameter["in"] == "query" and not parameter.get("required"):
            parameter["allowEmptyValue"] = True


def _describe_problems(path: str, told: Operation) -> None:
    answers = told["responses"]
    names = {parameter["name"] for parameter in told.get("parameters", [])}
    words = dict(_ALWAYS)
    if "requestBody" in told:
        words |= _WITH_BODY
    if "{" in path or "page" in names:
        words |= _WITH_PATH
    for status, word in words.items():
        answers.setdefault(status, {"content": _PROBLEM, "description": word})
    for status, answer in answers.items():
        if int(status) >= 400:
            answer["content"] = dict(_PROBLEM)
            if status in _HEADERS:
                answer["headers"] = _HEADERS[status]
    told["responses"] = dict(sorted(answers.items()))


def _describe_etag(told: Operation) -> None:
    why = "Send it as If-None-Match: 304 when nothing changed."
    shown = {"ETag": {"schema": {"type": "string"}, "description": why}}
    told["responses"]["200"].setdefault("headers", shown)
    told["responses"].setdefault("304", {"description": "What you have is what there is.", "headers": shown})
    told["responses"] = dict(sorted(told["responses"].items()))


def _link(document: Document, path: str, told: Operation) -> None:
    """What made a thing says by which operations it is read, changed and deleted (OpenAPI's links)."""
    found_at, by = _MADE_AT.get(path, (path + "/{id}", _BY_ID))
    made = next((answer for status, answer in told["responses"].items() if status in ("200", "201")), None)
    if made is None:
        return
    below = re.compile(re.escape(found_at) + r"(?:/[a-z-]+)?$")
    links = {
        other["operationId"]: {
            "operationId": other["operationId"],
            "parameters": dict(by),
            "description": other.get("summary", ""),
        }
        for place, _, other in operations(document)
        if below.match(place)
    }
    if links:
        made["links"] = links

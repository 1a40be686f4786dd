"""JSON as the OpenAPI document has it: "5" is no number and 1 no text, although the serializers could read them so.

And without what no database takes, before a field looks anything up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rest_framework import serializers

DURATION: Final = r"^-?(?:\d{1,6} )?\d{1,2}:\d{2}:\d{2}(?:\.\d{1,6})?$"
# A time of day by the clock of a zone that stands beside it: RFC 3339, which "format: time" means, wants an offset.
TIME: Final = r"^(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?$"
DECIMAL: Final = r"^-?\d{1,12}(?:\.\d{1,12})?$"

_KINDS: Final[tuple[tuple[type[serializers.Field[Any, Any, Any, Any]], tuple[type, ...], str], ...]] = (
    (serializers.BooleanField, (bool,), "Give true or false, without quotes."),
    (serializers.IntegerField, (int, float), "Give a whole number, without quotes."),
    (serializers.FloatField, (int, float), "Give a number, without quotes."),
    (serializers.DecimalField, (str, int, float), "Give a number."),
    (serializers.PrimaryKeyRelatedField, (int,), "Give an id, without quotes."),
    (serializers.DurationField, (str,), "Give a duration as “DD HH:MM:SS”."),
    (serializers.ChoiceField, (str,), "Give one of the words, in quotes."),
    (serializers.CharField, (str,), "Give text, in quotes."),
    (serializers.DateTimeField, (str,), "Give a time as “2026-11-20T12:00:00Z”."),
    (serializers.TimeField, (str,), "Give a time of day as “22:00”."),
)
_SHAPES: Final = (
    (serializers.DurationField, re.compile(DURATION)),
    (serializers.DecimalField, re.compile(DECIMAL)),
    (serializers.TimeField, re.compile(TIME)),
)


# PostgreSQL takes no NUL in text, and nothing takes half of a surrogate pair.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
UNSTORABLE: Final = "Null characters and lone surrogates are not allowed."


def is_storable(value: Any) -> bool:
    """Whether a database can take this text, and every text in this list or object."""
    if isinstance(value, str):
        return _UNSTORABLE.search(value) is None
    if isinstance(value, Mapping):
        return all(is_storable(name) and is_storable(entry) for name, entry in value.items())
    return not isinstance(value, list) or all(map(is_storable, value))


def refuse_wrong_types(shape: serializers.Serializer[Any], data: Any) -> None:
    """Raise 400 naming each field whose value is of another JSON type than the document says, or cannot be stored."""
    if not isinstance(data, Mapping):
        return
    wrong: dict[str, Any] = {}
    for name, field in shape.fields.items():
        if not field.read_only and name in data:
            if not is_storable(data[name]):
                wrong[name] = [UNSTORABLE]
            for path, message in _wrong(field, data[name], name):
                wrong.setdefault(path, [message])
    if wrong:
        raise serializers.ValidationError(wrong)


def _wrong(field: serializers.Field[Any, Any, Any, Any], value: Any, path: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a value or with what it holds; null is for the field to judge."""
    if value is None:
        return
    below = getattr(field, "child", None) or getattr(field, "child_relation", None)
    if below is not None and not isinstance(below, serializers.BaseSerializer):
        held = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        for key, entry in held:
            yield from _wrong(below, entry, f"{path}[{key}]")
        return
    for kind, taken, message in _KINDS:
        if isinstance(field, kind):
            is_right = isinstance(value, taken) and (bool in taken or not isinstance(value, bool))
            if not is_right or not _has_shape(field, value):
                yield path, message
            return


def _has_shape(field: serializers.Field[Any, Any, Any, Any], value: Any) -> bool:
    return not isinstance(value, str) or all(
        pattern.match(value) for kind, pattern in _SHAPES if isinstance(field, kind)
    )

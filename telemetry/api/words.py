"""Words with a name of their own in the OpenAPI document: "status" and "type" mean other words in other places."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from rest_framework import serializers


class NamedChoiceField(serializers.ChoiceField):
    """One of a fixed list of words; the document describes the list once, under `component`."""

    component: ClassVar[str]
    words: ClassVar[list[str]]

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=self.words, **options)


class NamedChoiceScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """How the document describes such a field: a reference to the component."""

    target_class = NamedChoiceField
    match_subclasses = True

    def get_name(self) -> str:
        """The component's name."""
        return str(self.target.component)

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """The component."""
        return {"type": "string", "enum": list(self.target.words)}

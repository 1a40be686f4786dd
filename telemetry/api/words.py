"""Words with a name of their own in the OpenAPI document: "status" and "type" mean other words in other places."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.plumbing import ResolvedComponent
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

    def get_name(self) -> str | None:
        """The component's name; none for a field that may be empty, which only refers to the component."""
        return None if self.target.allow_blank else str(self.target.component)

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """The component, or a choice of it and nothing."""
        words = {"type": "string", "enum": list(self.target.words)}
        if not self.target.allow_blank:
            return words
        component = ResolvedComponent(  # type: ignore[no-untyped-call]
            name=self.target.component, type=ResolvedComponent.SCHEMA, schema=words, object=self.target
        )
        auto_schema.registry.register_on_missing(component)
        return {"oneOf": [component.ref, {"type": "string", "maxLength": 0}]}

"""Blocklists as data: how each is asked and what its answers mean."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import blocklists
from reputation.api.listings import LookErrorField, TierField
from reputation.blocklist_book import delete_blocklist, save_blocklist
from reputation.domain.dnsbl import Match, ZoneKind
from reputation.models import Blocklist, BlocklistCanary
from reputation.models.blocklist_shape import valid_key
from telemetry.api.common import (
    ApiView,
    Query,
    RowBody,
    documented,
    equal,
    page_of,
    person,
    query_of,
)
from telemetry.api.words import NamedChoiceField
from telemetry.errors import Conflict
from telemetry.pagination import Pages

WRITE = "reputation.change_blocklist"


class BlocklistKindField(NamedChoiceField):
    """What a list is asked about; to be on an allow list is good."""

    component = "BlocklistKind"
    words = [kind.value for kind in ZoneKind]


class BlocklistMatchField(NamedChoiceField):
    """How answers are read: by the table, by bits of the last octet, any 127.x.y.z, or dnswl.org's way."""

    component = "BlocklistMatch"
    words = [match.value for match in Match]


class BlocklistNeedsField(NamedChoiceField):
    """What it takes before the list may be asked; empty: nothing."""

    component = "BlocklistNeeds"
    words = ["key", "key_or_resolver", "resolver"]


class CanarySerializer(serializers.ModelSerializer[BlocklistCanary]):
    """Whether a list passed its test points."""

    family = serializers.SerializerMethodField(help_text="ipv4, ipv6 or domain.")
    error = LookErrorField(allow_blank=True)

    class Meta:
        model = BlocklistCanary
        fields = ["family", "is_good", "error", "detail", "asked_at", "stands_until"]

    def get_family(self, row: BlocklistCanary) -> str:
        """The IP version, or domains."""
        return f"ipv{row.family}" if row.family else "domain"


class BlocklistSerializer(RowBody[Blocklist]):
    """A list. Its key can be set and cleared but never read."""

    kind = BlocklistKindField(required=False)
    match = BlocklistMatchField(required=False)
    needs = BlocklistNeedsField(required=False, allow_blank=True)
    tier = TierField(required=False)
    key = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        validators=[valid_key],
        help_text="Never shown again. Another keyed zone or resolver forgets it unless one comes with it.",
    )
    has_key = serializers.SerializerMethodField(help_text="Whether a key is set.")
    why_not_asked = serializers.CharField(read_only=True, help_text="Empty: it is asked.")
    canaries = CanarySerializer(many=True, read_only=True)

    class Meta:
        model = Blocklist
        fields = [
            *("id", "name", "operator", "kind", "zone", "keyed_zone", "key", "has_key", "ipv4", "ipv6", "is_enabled"),
            *("needs", "why_not_asked", "tier", "weight", "match", "listed", "not_listed", "bits"),
            *("informational_bits", "test_listed", "test_clear", "resolver", "resolver_port", "queries_per_second"),
            *("check_every", "delist_url", "delist_note", "notes", "source", "builtin", "created_at", "canaries"),
        ]
        read_only_fields = ["builtin", "created_at"]

    def get_has_key(self, row: Blocklist) -> bool:
        """Whether a key is set; the key itself stays sealed."""
        return bool(row.key_sealed)

    def create(self, validated_data: dict[str, Any]) -> Blocklist:
        """Make the list."""
        return self.update(Blocklist(), validated_data)

    def update(self, instance: Blocklist, validated_data: dict[str, Any]) -> Blocklist:
        """Set what was given."""
        values = dict(validated_data)
        user, key = values.pop("user"), values.pop("key", None)
        for name, value in values.items():
            setattr(instance, name, value)
        return save_blocklist(instance, user=user, key=key, changed=sorted(values))


class BlocklistQuery(Query):
    """Filters of the list of blocklists."""

    kind = BlocklistKindField(required=False)
    tier = TierField(required=False)
    is_enabled = serializers.BooleanField(required=False, allow_null=True, default=None)


class Blocklists(ApiView):
    """The lists."""

    write_permission = WRITE

    @documented(
        "blocklists",
        "blocklists_list",
        "List blocklists",
        answers={200: BlocklistSerializer},
        query=BlocklistQuery,
        pages=Pages,
    )
    def get(self, request: Request) -> Response:
        """By tier and weight, with what became of their test points."""
        query = query_of(request, BlocklistQuery)
        rows = equal(Blocklist.objects.prefetch_related("canaries"), query, ("kind", "tier"))
        if query["is_enabled"] is not None:
            rows = rows.filter(is_enabled=query["is_enabled"])
        return page_of(request, rows, BlocklistSerializer)

    @documented(
        "blocklists",
        "blocklists_create",
        "Add a blocklist",
        answers={201: BlocklistSerializer},
        body=BlocklistSerializer,
    )
    def post(self, request: Request) -> Response:
        """Add one; it is believed once it passed its test points. A zone that is known to be dead is refused."""
        shape = BlocklistSerializer(data=request.data)
        shape.is_valid(raise_exception=True)
        shape.save(user=person(request))
        return Response(shape.data, status=status.HTTP_201_CREATED)


class BlocklistById(ApiView):
    """One list."""

    write_permission = WRITE

    @documented(
        "blocklists", "blocklists_retrieve", "Show a blocklist", answers={200: BlocklistSerializer}, problems=[404]
    )
    def get(self, request: Request, pk: int) -> Response:
        """How it is asked and what its answers mean."""
        return Response(BlocklistSerializer(get_object_or_404(Blocklist, pk=pk)).data)

    @documented(
        "blocklists",
        "blocklists_update",
        "Change a blocklist",
        answers={200: BlocklistSerializer},
        body=BlocklistSerializer(partial=True),
        problems=[404],
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given; audited with your name."""
        shape = BlocklistSerializer(get_object_or_404(Blocklist, pk=pk), data=request.data, partial=True)
        shape.is_valid(raise_exception=True)
        shape.save(user=person(request))
        return Response(shape.data)

    @documented("blocklists", "blocklists_delete", "Delete a blocklist", answers={204: None}, problems=[404, 409])
    def delete(self, request: Request, pk: int) -> Response:
        """Delete one of your own that listed nobody; a shipped one is switched off instead (409)."""
        try:
            delete_blocklist(get_object_or_404(Blocklist, pk=pk), user=person(request))
        except ValidationError as error:
            raise Conflict(" ".join(error.messages)) from None
        return Response(status=status.HTTP_204_NO_CONTENT)


class TryBlocklist(ApiView):
    """Ask a list for its test points."""

    write_permission = WRITE

    @documented(
        "blocklists",
        "blocklists_test",
        "Test a blocklist",
        answers={200: CanarySerializer(many=True)},
        problems=[404, 409],
    )
    def post(self, request: Request, pk: int) -> Response:
        """Whether it lists what it must and does not list what it must not; 409 for a list that may not be asked."""
        try:
            found = blocklists.try_list(get_object_or_404(Blocklist, pk=pk), now=timezone.now())
        except ValidationError as error:
            raise Conflict(" ".join(error.messages)) from None
        return Response(CanarySerializer(found, many=True).data)

"""KumoMTA: the servers that are told, and what they were told."""

from __future__ import annotations

from typing import Any

from django.db.models.deletion import ProtectedError
from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from reputation.domain.kumomta import Act, NamedBy
from reputation.enforcement import kumomta
from reputation.enforcement.kumomta_api import KumoError
from reputation.models import KumoAct, KumoServer
from telemetry.api.common import (
    ApiView,
    NewestFirst,
    PeriodQuery,
    RowBody,
    between,
    documented,
    equal,
    page_of,
    query_of,
)
from telemetry.api.words import NamedChoiceField
from telemetry.domain.vocab import SourceKind
from telemetry.errors import Conflict
from telemetry.models import Source
from telemetry.pagination import Pages

WRITE = "reputation.change_kumoserver"


class KumoNamedByField(NamedChoiceField):
    """What a sending domain is in KumoMTA's queue names; empty: it knows none."""

    component = "KumoNamedBy"
    words = [word.value for word in NamedBy if word]


class KumoActField(NamedChoiceField):
    """What a call was for."""

    component = "KumoActWord"
    words = [act.value for act in Act]


class KumoServerSerializer(RowBody[KumoServer]):
    """A KumoMTA. Its login can be set and cleared but never read."""

    named_by = KumoNamedByField(required=False, allow_blank=True)
    login = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        max_length=200,
        help_text="user:password, where its admin API asks for it (Basic); empty: it trusts our address. Never shown "
        "again. An address on another host forgets the login unless one comes with it.",
    )
    has_login = serializers.SerializerMethodField(help_text="Whether a login is set.")

    class Meta:
        model = KumoServer
        fields = [
            "id",
            "name",
            "url",
            "login",
            "has_login",
            "source",
            "named_by",
            "domain_names",
            "egress_sources",
            "is_active",
            "checked_at",
            "suspensions",
            "failures",
            "error",
            "created_at",
        ]
        read_only_fields = ["checked_at", "suspensions", "failures", "error", "created_at"]

    def get_has_login(self, server: KumoServer) -> bool:
        """Whether a login is set; the login itself stays sealed."""
        return bool(server.login_sealed)

    def validate_login(self, value: str) -> str:
        """A name and a password."""
        if value and (":" not in value or not value.isprintable()):
            raise serializers.ValidationError("Give it as user:password.")
        return value

    def validate_source(self, value: Source | None) -> Source | None:
        """A KumoMTA reports as one."""
        if value is not None and value.kind != SourceKind.KUMOMTA:
            raise serializers.ValidationError(f"The source {value} is of kind {value.kind}, not kumomta.")
        return value

    def create(self, validated_data: dict[str, Any]) -> KumoServer:
        """Make the server with its login sealed."""
        return self.update(KumoServer(), validated_data)

    def update(self, instance: KumoServer, validated_data: dict[str, Any]) -> KumoServer:
        """Set what was given."""
        if instance.is_elsewhere(validated_data.get("url", instance.url)):
            instance.login = ""
        for name, value in validated_data.items():
            setattr(instance, name, value)
        instance.save()
        return instance


class KumoActSerializer(serializers.ModelSerializer[KumoAct]):
    """One call and what it answered."""

    server = serializers.CharField(source="server.name")
    act = KumoActField()

    class Meta:
        model = KumoAct
        fields = [
            "id",
            "server",
            "at",
            "act",
            "method",
            "path",
            "kind",
            "sender",
            "provider",
            "breaker_event",
            "body",
            "status",
            "answer_id",
            "error",
        ]


class KumoActQuery(PeriodQuery):
    """Filters of the list of acts."""

    server = serializers.CharField(required=False, help_text="A server's name.")
    act = KumoActField(required=False)
    sender = serializers.CharField(required=False, help_text="A sending IP or domain, exactly.")
    provider = serializers.CharField(required=False, help_text="A mailbox provider's id.")


class AppliedSerializer(serializers.Serializer[Any]):
    """What a run did."""

    suspended = serializers.IntegerField()
    renewed = serializers.IntegerField()
    lifted = serializers.IntegerField()
    failed = serializers.IntegerField()
    left = serializers.IntegerField(help_text="Calls left for the next run.")
    error = serializers.CharField(allow_blank=True)
    untold = serializers.ListField(  # what cannot be said to this server
        child=serializers.CharField(), help_text="What is held back but cannot be said to this server, and why."
    )


class KumoServers(ApiView):
    """The KumoMTAs that are told."""

    write_permission = WRITE

    @documented(
        "kumomta", "kumomta_servers_list", "List KumoMTA servers", answers={200: KumoServerSerializer}, pages=Pages
    )
    def get(self, request: Request) -> Response:
        """Servers by name."""
        return page_of(request, KumoServer.objects.order_by("name"), KumoServerSerializer)

    @documented(
        "kumomta",
        "kumomta_servers_create",
        "Add a KumoMTA server",
        answers={201: KumoServerSerializer},
        body=KumoServerSerializer,
    )
    def post(self, request: Request) -> Response:
        """Add it; it is told by the next run, a few seconds later."""
        shape = KumoServerSerializer(data=request.data)
        shape.is_valid(raise_exception=True)
        shape.save()
        return Response(shape.data, status=status.HTTP_201_CREATED)


class KumoServerById(ApiView):
    """One KumoMTA."""

    write_permission = WRITE

    @documented(
        "kumomta",
        "kumomta_servers_retrieve",
        "Show a KumoMTA server",
        answers={200: KumoServerSerializer},
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """How it is reached and how it was last found."""
        return Response(KumoServerSerializer(get_object_or_404(KumoServer, pk=pk)).data)

    @documented(
        "kumomta",
        "kumomta_servers_update",
        "Change a KumoMTA server",
        answers={200: KumoServerSerializer},
        body=KumoServerSerializer(partial=True),
        problems=[404],
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given."""
        shape = KumoServerSerializer(get_object_or_404(KumoServer, pk=pk), data=request.data, partial=True)
        shape.is_valid(raise_exception=True)
        shape.save()
        return Response(shape.data)

    @documented(
        "kumomta", "kumomta_servers_delete", "Delete a KumoMTA server", answers={204: None}, problems=[404, 409]
    )
    def delete(self, request: Request, pk: int) -> Response:
        """Delete one that was never called; one with acts is made inactive instead (409)."""
        try:
            get_object_or_404(KumoServer, pk=pk).delete()
        except ProtectedError:
            raise Conflict("What this server was told is kept; set is_active to false instead.") from None
        return Response(status=status.HTTP_204_NO_CONTENT)


class ApplyToKumo(ApiView):
    """Tell a KumoMTA at once."""

    write_permission = WRITE

    @documented(
        "kumomta",
        "kumomta_servers_apply",
        "Tell a KumoMTA server now",
        answers={200: AppliedSerializer},
        problems=[404],
    )
    def post(self, request: Request, pk: int) -> Response:
        """Read what is suspended there and make the calls that are missing; answers what was done, or the error."""
        done = kumomta.apply(get_object_or_404(KumoServer, pk=pk), now=timezone.now())
        untold = [f"{scope}: {why}" for scope, why in done.untold]
        told = {name: getattr(done, name) for name in ("suspended", "renewed", "lifted", "failed", "left", "error")}
        return Response({**told, "untold": untold})


class ConnectionSerializer(serializers.Serializer[Any]):
    """Whether it answers."""

    ok = serializers.BooleanField()
    message = serializers.CharField()


class TryKumo(ApiView):
    """Try the connection."""

    write_permission = WRITE

    @documented(
        "kumomta",
        "kumomta_servers_test",
        "Test the connection to a KumoMTA server",
        answers={200: ConnectionSerializer},
        problems=[404],
    )
    def post(self, request: Request, pk: int) -> Response:
        """Read its lists; nothing is changed there."""
        try:
            said = kumomta.try_connection(get_object_or_404(KumoServer, pk=pk), now=timezone.now())
        except KumoError as error:
            return Response({"ok": False, "message": str(error)})
        return Response({"ok": True, "message": said})


class KumoActs(ApiView):
    """What KumoMTAs were told."""

    @documented(
        "kumomta",
        "kumomta_acts",
        "List the calls of KumoMTA servers",
        answers={200: KumoActSerializer},
        query=KumoActQuery,
        pages=NewestFirst,
    )
    def get(self, request: Request) -> Response:
        """Rows that are written once and never edited, newest first."""
        query = query_of(request, KumoActQuery)
        rows = between(KumoAct.objects.select_related("server"), "at", query)
        rows = equal(rows, query, ("act", "sender", "provider"))
        if "server" in query:
            rows = rows.filter(server__name=query["server"])
        return page_of(request, rows, KumoActSerializer, NewestFirst)

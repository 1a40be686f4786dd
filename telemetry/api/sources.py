"""Sources and their tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from telemetry.access import note_source
from telemetry.api.common import (
    ApiView,
    Body,
    Query,
    RowBody,
    body_of,
    caller,
    documented,
    in_future,
    page_of,
    query_of,
)
from telemetry.domain.access import AccessKind
from telemetry.domain.addresses import networks
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import SourceKind
from telemetry.errors import Conflict
from telemetry.models import FollowedFile, Source, SourceToken
from telemetry.pagination import Pages
from telemetry.tokens import ROTATION_OVERLAP, issue_token, revoke_token, rotate_token

WRITE = "telemetry.change_source"
# An old token that goes on for longer than this is not being rotated but kept.
LONGEST_OVERLAP = timedelta(days=30)
# An answer that shows a token must not stay in anybody's cache.
_ONCE = {"Cache-Control": "no-store"}


class SourceSerializer(RowBody[Source]):
    """A source. Its signing key and the login of its metrics page can be set and cleared but never read."""

    hmac_key = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        min_length=16,
        max_length=1000,
        help_text="Key that bodies are signed with (X-Signature); empty: no signature is asked for. Never shown again.",
    )
    signed = serializers.SerializerMethodField(help_text="Whether bodies must be signed.")
    metrics_login = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        max_length=200,
        help_text="user:password, where the metrics page asks for it (Basic); empty: it asks for none. Never shown "
        "again. A metrics page on another host forgets the login unless one comes with it.",
    )
    allowed_networks = serializers.ListField(
        child=serializers.CharField(max_length=60),
        required=False,
        max_length=1_000,
        help_text="Networks that reports may come from, such as 203.0.113.0/24 or 2001:db8::/32; others are answered "
        "403. Empty: anywhere.",
    )
    has_metrics_login = serializers.SerializerMethodField(help_text="Whether a login for the metrics page is set.")

    class Meta:
        model = Source
        fields = [
            "id",
            "name",
            "kind",
            "region",
            "node",
            "ip_map",
            "volume",
            "is_active",
            "allowed_networks",
            "requests_per_minute",
            "events_per_minute",
            "signed",
            "hmac_key",
            "metrics_url",
            "metrics_login",
            "has_metrics_login",
            "last_event_at",
            "created_at",
            "notes",
        ]
        read_only_fields = ["last_event_at", "created_at"]

    def get_signed(self, source: Source) -> bool:
        """Whether a key is set; the key itself stays sealed."""
        return bool(source.hmac_key_sealed)

    def get_has_metrics_login(self, source: Source) -> bool:
        """Whether a login is set; the login itself stays sealed."""
        return bool(source.metrics_login_sealed)

    def validate_kind(self, value: str) -> str:
        """The self-test makes its own source."""
        if value == SourceKind.SELF_TEST:
            raise serializers.ValidationError("This kind belongs to the self-test.")
        return value

    def validate_allowed_networks(self, value: list[str]) -> list[str]:
        """Each network in its usual form. Raises for the first that is none."""
        try:
            return [str(found) for found in networks(value)]
        except ParseError as error:
            raise serializers.ValidationError(error.message) from None

    def validate_metrics_login(self, value: str) -> str:
        """A name and a password."""
        if value and (":" not in value or not value.isprintable()):
            raise serializers.ValidationError("Give it as user:password.")
        return value

    def create(self, validated_data: dict[str, Any]) -> Source:
        """Make the source with its secrets sealed."""
        return self.update(Source(), validated_data)

    def update(self, instance: Source, validated_data: dict[str, Any]) -> Source:
        """Set what was given; secrets are sealed on their way."""
        # Whoever may change the address but knows no password must not have it sent to a host of their choice.
        if _origin(validated_data.get("metrics_url", instance.metrics_url)) != _origin(instance.metrics_url):
            instance.metrics_login = ""
        for name, value in validated_data.items():
            setattr(instance, name, value)
        instance.save()
        return instance


class SourceQuery(Query):
    """Filters of the list of sources."""

    kind = serializers.ChoiceField(choices=[kind.value for kind in SourceKind], required=False)
    is_active = serializers.BooleanField(required=False, allow_null=True, default=None)
    search = serializers.CharField(required=False, help_text="Part of the name.")


class TokenSerializer(serializers.ModelSerializer[SourceToken]):
    """What is kept of a token: the prefix that it is known by, and its dates."""

    is_usable = serializers.BooleanField(read_only=True, help_text="Neither revoked nor expired.")

    class Meta:
        model = SourceToken
        fields = ["prefix", "label", "is_usable", "created_at", "expires_at", "revoked_at", "last_used_at"]


class NewTokenSerializer(TokenSerializer):
    """A token that was made just now, in clear for this once."""

    token = serializers.CharField(read_only=True, help_text="Shown only now: nobody can read it again.")

    class Meta(TokenSerializer.Meta):
        fields = ["token", *TokenSerializer.Meta.fields]


class TokenBody(Body):
    """What a new token may be given."""

    label = serializers.CharField(  # type: ignore[assignment]
        required=False, allow_blank=True, max_length=100, default=""
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None, validators=[in_future])


class RotationBody(Body):
    """How long the old token goes on."""

    overlap_hours = serializers.FloatField(
        required=False,
        min_value=0,
        max_value=LONGEST_OVERLAP / timedelta(hours=1),
        default=ROTATION_OVERLAP / timedelta(hours=1),
    )


class Sources(ApiView):
    """Who reports to us."""

    write_permission = WRITE
    is_act = False  # what is done is written down by name

    @documented(
        "sources", "sources_list", "List sources", answers={200: SourceSerializer}, query=SourceQuery, pages=Pages
    )
    def get(self, request: Request) -> Response:
        """Sources by name."""
        query = query_of(request, SourceQuery)
        rows = Source.objects.order_by("name")
        if "kind" in query:
            rows = rows.filter(kind=query["kind"])
        if query["is_active"] is not None:
            rows = rows.filter(is_active=query["is_active"])
        if "search" in query:
            rows = rows.filter(name__icontains=query["search"])
        return page_of(request, rows, SourceSerializer)

    @documented("sources", "sources_create", "Add a source", answers={201: SourceSerializer}, body=SourceSerializer)
    def post(self, request: Request) -> Response:
        """Make a source; make a token for it next."""
        shape = SourceSerializer(data=request.data)
        shape.is_valid(raise_exception=True)
        source = shape.save()
        note_source(AccessKind.SOURCE_ADDED, source, caller(request), list(request.data), now=timezone.now())
        return Response(shape.data, status=status.HTTP_201_CREATED)


class SourceById(ApiView):
    """One source."""

    write_permission = WRITE
    is_act = False  # what is done is written down by name

    @documented("sources", "sources_retrieve", "Show a source", answers={200: SourceSerializer}, problems=[404])
    def get(self, request: Request, pk: int) -> Response:
        """The source."""
        return Response(SourceSerializer(get_object_or_404(Source, pk=pk)).data)

    @documented(
        "sources",
        "sources_update",
        "Change a source",
        answers={200: SourceSerializer},
        body=SourceSerializer(partial=True),
        problems=[404],
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given."""
        shape = SourceSerializer(get_object_or_404(Source, pk=pk), data=request.data, partial=True)
        shape.is_valid(raise_exception=True)
        source = shape.save()
        note_source(AccessKind.SOURCE_CHANGED, source, caller(request), list(request.data), now=timezone.now())
        return Response(shape.data)

    @documented(
        "sources",
        "sources_delete",
        "Delete or deactivate a source",
        answers={200: SourceSerializer, 204: None},
        problems=[404],
    )
    def delete(self, request: Request, pk: int) -> Response:
        """Delete a source that never reported (204); deactivate one that did (200), as its events name it."""
        with transaction.atomic():
            source = get_object_or_404(Source.objects.select_for_update(), pk=pk)
            now = timezone.now()
            if not _was_used(source):
                note_source(AccessKind.SOURCE_DELETED, source, caller(request), [], now=now)
                source.delete()
                return Response(status=status.HTTP_204_NO_CONTENT)
            source.is_active = False
            source.save(update_fields=["is_active"])
            note_source(AccessKind.SOURCE_CHANGED, source, caller(request), ["is_active"], now=now)
        return Response(SourceSerializer(source).data)


class SourceTokens(ApiView):
    """The tokens of a source."""

    write_permission = WRITE
    is_act = False  # what is done is written down by name

    @documented(
        "sources",
        "source_tokens_list",
        "List a source's tokens",
        answers={200: TokenSerializer(many=True)},
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """Tokens, newest first, without their secrets."""
        tokens = get_object_or_404(Source, pk=pk).tokens.order_by("-created_at")
        return Response(TokenSerializer(tokens, many=True).data)

    @documented(
        "sources",
        "source_tokens_create",
        "Make a token for a source",
        answers={201: NewTokenSerializer},
        body=TokenBody,
        problems=[404],
    )
    def post(self, request: Request, pk: int) -> Response:
        """Make a token; this answer is the only place where it can be read."""
        source = get_object_or_404(Source, pk=pk)
        body = body_of(request, TokenBody)
        return _shown_once(issue_token(source, body["label"], expires_at=body["expires_at"], by=caller(request)))


class RevokeToken(ApiView):
    """The end of a token."""

    write_permission = WRITE
    is_act = False  # what is done is written down by name

    @documented(
        "sources",
        "source_tokens_revoke",
        "Revoke a token",
        answers={200: TokenSerializer},
        problems=[404],
    )
    def post(self, request: Request, pk: int, prefix: str) -> Response:
        """End the token at once; a second time changes nothing."""
        token = get_object_or_404(SourceToken, source_id=pk, prefix=prefix)
        revoke_token(token, now=timezone.now(), by=caller(request))
        return Response(TokenSerializer(token).data)


class RotateToken(ApiView):
    """A token's successor."""

    write_permission = WRITE
    is_act = False  # what is done is written down by name

    @documented(
        "sources",
        "source_tokens_rotate",
        "Rotate a token",
        answers={201: NewTokenSerializer},
        body=RotationBody,
        problems=[404, 409],
    )
    def post(self, request: Request, pk: int, prefix: str) -> Response:
        """Make a successor, shown once; the old token goes on for the overlap so that no event is lost."""
        body = body_of(request, RotationBody)
        with transaction.atomic():
            token = get_object_or_404(SourceToken.objects.select_for_update(), source_id=pk, prefix=prefix)
            if not token.is_usable:
                raise Conflict("This token is revoked or expired: make a new one instead.")
            overlap = timedelta(hours=body["overlap_hours"])
            clear = rotate_token(token, now=timezone.now(), overlap=overlap, by=caller(request))
        return _shown_once(clear)


def _shown_once(clear: str) -> Response:
    token = SourceToken.objects.get(prefix=clear.split("_")[1])
    token.token = clear  # type: ignore[attr-defined]
    return Response(NewTokenSerializer(token).data, status=status.HTTP_201_CREATED, headers=_ONCE)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.lower()


def _was_used(source: Source) -> bool:
    """Whether anything may have been reported: a token's first use is noted before its events are taken."""
    return (
        source.last_event_at is not None
        or source.tokens.exclude(last_used_at=None).exists()
        or FollowedFile.objects.filter(source=source).exists()
    )

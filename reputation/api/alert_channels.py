"""Channels of alerts: the ways to reach somebody. Their addresses can be set but never read."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import alert_delivery
from reputation.alert_channels import LONGEST_URL, check_url
from reputation.models import AlertChannel
from telemetry.api.common import ApiView, RowBody, documented, page_of
from telemetry.pagination import Pages

WRITE = "reputation.change_alertchannel"


class AlertChannelSerializer(RowBody[AlertChannel]):
    """A way to reach somebody."""

    url = serializers.CharField(
        write_only=True,
        max_length=LONGEST_URL,
        help_text="https://… (a signed webhook), smtp[s]://user:password@host:port?from=…&to=…, or one of Apprise's "
        "services such as slack://… Never shown again.",
    )
    key = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        max_length=200,
        help_text="What a webhook's bodies are signed with. Another address forgets it unless one comes with it.",
    )
    has_key = serializers.SerializerMethodField(help_text="Whether a key is set.")

    class Meta:
        model = AlertChannel
        fields = [
            *("id", "name", "url", "scheme", "key", "has_key", "is_enabled", "is_default"),
            *("last_ok_at", "last_failed_at", "last_error", "created_at"),
        ]
        read_only_fields = ["scheme", "last_ok_at", "last_failed_at", "last_error", "created_at"]

    def get_has_key(self, row: AlertChannel) -> bool:
        """Whether a key is set; the key itself stays sealed."""
        return bool(row.key_sealed)

    def validate_url(self, value: str) -> str:
        """An address that can be used."""
        return check_url(value)

    def create(self, validated_data: dict[str, Any]) -> AlertChannel:
        """Make the channel with its address sealed."""
        return self.update(AlertChannel(), validated_data)

    def update(self, instance: AlertChannel, validated_data: dict[str, Any]) -> AlertChannel:
        """Set what was given."""
        if "url" in validated_data:
            instance.url, instance.key = validated_data["url"], ""
        for name in ("key", "name", "is_enabled", "is_default"):
            if name in validated_data:
                setattr(instance, name, validated_data[name])
        instance.save()
        return instance


class AlertTestSerializer(serializers.Serializer[dict[str, Any]]):
    """How a test message fared."""

    arrived = serializers.BooleanField()
    error = serializers.CharField(help_text="Its class, such as timeout or http_404; empty when it arrived.")


class AlertChannels(ApiView):
    """The channels."""

    write_permission = WRITE

    @documented(
        "alerts", "alert_channels_list", "List alert channels", answers={200: AlertChannelSerializer}, pages=Pages
    )
    def get(self, request: Request) -> Response:
        """By name, with how they last fared."""
        return page_of(request, AlertChannel.objects.all(), AlertChannelSerializer)

    @documented(
        "alerts",
        "alert_channels_create",
        "Add an alert channel",
        answers={201: AlertChannelSerializer},
        body=AlertChannelSerializer,
    )
    def post(self, request: Request) -> Response:
        """Add one; rules that name no channel use it at once unless `is_default` is false."""
        shape = AlertChannelSerializer(data=request.data)
        shape.is_valid(raise_exception=True)
        shape.save()
        return Response(shape.data, status=status.HTTP_201_CREATED)


class AlertChannelById(ApiView):
    """One channel."""

    write_permission = WRITE

    @documented(
        "alerts",
        "alert_channels_retrieve",
        "Show an alert channel",
        answers={200: AlertChannelSerializer},
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """Everything but its address."""
        return Response(AlertChannelSerializer(get_object_or_404(AlertChannel, pk=pk)).data)

    @documented(
        "alerts",
        "alert_channels_update",
        "Change an alert channel",
        answers={200: AlertChannelSerializer},
        body=AlertChannelSerializer(partial=True),
        problems=[404],
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given."""
        row = get_object_or_404(AlertChannel, pk=pk)
        shape = AlertChannelSerializer(row, data=request.data, partial=True)
        shape.is_valid(raise_exception=True)
        shape.save()
        return Response(shape.data)

    @documented("alerts", "alert_channels_delete", "Delete an alert channel", answers={204: None}, problems=[404])
    def delete(self, request: Request, pk: int) -> Response:
        """Delete it with the record of what was sent there; to keep that, switch it off."""
        get_object_or_404(AlertChannel, pk=pk).delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


class TryAlertChannel(ApiView):
    """Send a test message."""

    write_permission = WRITE

    @documented(
        "alerts", "alert_channels_test", "Test an alert channel", answers={200: AlertTestSerializer}, problems=[404]
    )
    def post(self, request: Request, pk: int) -> Response:
        """Send a message that says it is a test, and tell how it fared."""
        trouble = alert_delivery.send_test(get_object_or_404(AlertChannel, pk=pk), now=timezone.now())
        return Response({"arrived": not trouble, "error": trouble})

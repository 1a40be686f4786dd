"""How much of what a mail server counted arrived here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from telemetry.api.common import ApiView, documented
from telemetry.completeness_lines import by_day, by_hour, last_day
from telemetry.domain.completeness import Line
from telemetry.models import MetricsWatch, Source


class ComparisonSerializer(serializers.Serializer[Any]):
    """A server's own counts and ours of the same stretch."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """`from` is a word of Python's."""
        return {
            "from": serializers.DateTimeField(),
            "to": serializers.DateTimeField(),
            "server_delivered": serializers.IntegerField(help_text="Deliveries that the server counted."),
            "arrived_delivered": serializers.IntegerField(help_text="Deliveries that arrived here."),
            "delivered_share": serializers.FloatField(
                allow_null=True, help_text="arrived_delivered / server_delivered, at most 1; null when it counted none."
            ),
            "missing": serializers.IntegerField(help_text="Deliveries that did not arrive."),
            "server_refused": serializers.IntegerField(
                help_text="Refusals that the server counted, some of them once a message: fewer than the recipients."
            ),
            "server_bounced": serializers.IntegerField(help_text="Recipients that it gave up for good."),
            "arrived_failed": serializers.IntegerField(help_text="Bounces and deferrals that arrived here."),
            "restarted": serializers.BooleanField(
                help_text="The server was started anew in this stretch: it delivered at least what it counted."
            ),
        }


class CompletenessSerializer(serializers.Serializer[Any]):
    """The comparison of a source. Events younger than five minutes may be on their way and are left out."""

    watched = serializers.BooleanField(help_text="Whether the source has a metrics page to read.")
    last_read_at = serializers.DateTimeField(allow_null=True)
    error = serializers.CharField(help_text="Why the last reading failed; empty while it works.")
    volume_ip = serializers.IPAddressField(
        allow_null=True, help_text="The one sending IP whose volume these counters give, if they give one."
    )
    last_24_hours = ComparisonSerializer(allow_null=True)
    hours = ComparisonSerializer(many=True, help_text="The last 24 clock hours, newest first.")
    days = ComparisonSerializer(many=True, help_text="The last 30 days, newest first.")


class SourceCompleteness(ApiView):
    """How many of a server's events arrived."""

    @documented(
        "sources",
        "source_completeness",
        "Compare a server's own counters with what arrived",
        answers={200: CompletenessSerializer},
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """By hour, by day and in all."""
        source = get_object_or_404(Source, pk=pk)
        now = timezone.now()
        watch = MetricsWatch.objects.filter(source=source).first()
        day = last_day([source.pk], now=now).get(source.pk)
        answer = {
            "watched": bool(source.metrics_url),
            "last_read_at": watch.read_at if watch else None,
            "error": watch.error if watch else "",
            "volume_ip": watch.volume_ip if watch else None,
            "last_24_hours": _shown(day) if day else None,
            "hours": [_shown(line) for line in by_hour(source.pk, now=now)],
            "days": [_shown(line) for line in by_day(source.pk, now=now)],
        }
        return Response(CompletenessSerializer(answer).data)


def _shown(line: Line) -> dict[str, Any]:
    values = asdict(line)
    values["from"], values["to"] = values.pop("start"), values.pop("end")
    return values | {"delivered_share": line.delivered_share, "missing": line.missing}

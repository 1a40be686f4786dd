"""How long things are kept."""

from __future__ import annotations

from datetime import timedelta

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from telemetry.api.common import ApiView, Body, body_of, documented
from telemetry.models import RetentionPolicy

# Longer than any mail system lives, and far from where date arithmetic ends.
LONGEST = timedelta(days=36_525)


class RetentionSerializer(serializers.ModelSerializer[RetentionPolicy]):
    """How long one kind of data is kept ("DD HH:MM:SS"), and what the last clean-up removed."""

    class Meta:
        model = RetentionPolicy
        fields = ["what", "title", "keep", "at_least", "last_run_at", "last_removed"]


class KeepBody(Body):
    """The new time."""

    keep = serializers.DurationField(min_value=timedelta(0), max_value=LONGEST, help_text="Such as “30 00:00:00”.")


class Retention(ApiView):
    """The retention policy, one row per kind of data."""

    @documented(
        "retention",
        "retention_list",
        "Show the retention policy",
        answers={200: RetentionSerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        """All rows; they are few."""
        return Response(RetentionSerializer(RetentionPolicy.objects.order_by("what"), many=True).data)


class RetentionOf(ApiView):
    """How long one kind of data is kept."""

    write_permission = "telemetry.change_retentionpolicy"

    @documented(
        "retention",
        "retention_update",
        "Change how long one kind of data is kept",
        answers={200: RetentionSerializer},
        body=KeepBody,
        problems=[404],
    )
    def patch(self, request: Request, what: str) -> Response:
        """Set the time; the next nightly clean-up goes by it. Less than what correctness needs is refused."""
        row = get_object_or_404(RetentionPolicy, pk=what)
        row.keep = body_of(request, KeepBody)["keep"]
        row.full_clean()
        row.save(update_fields=["keep"])
        return Response(RetentionSerializer(row).data)

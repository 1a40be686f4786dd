"""What people do about a sending IP: an act needs a reason, is audited with the user, and answers the new standing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import overrides, standing
from reputation.api.ips import shown
from reputation.api.serializers import ReputationSerializer, StatusField
from reputation.domain.policy import Status
from telemetry.api.common import ApiView, Body, body_of, documented, in_future, ip_in_path, person

F = TypeVar("F", bound=Callable[..., Any])


class ReasonBody(Body):
    """Why."""

    reason = serializers.CharField(max_length=overrides.LONGEST_REASON)


class ActBody(ReasonBody):
    """Why, and until when."""

    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None, validators=[in_future])


class OverrideBody(ActBody):
    """Which status, why, and until when."""

    status = StatusField()


def _act(operation: str, summary: str, body: Any, example: dict[str, Any] | None = None) -> Callable[[F], F]:
    examples = [OpenApiExample("Example", value=example, request_only=True)] if example else []
    return documented(
        "ips",
        operation,
        summary,
        answers={200: ReputationSerializer},
        body=body,
        problems=[400, 404],
        examples=examples,
    )


class OperatorView(ApiView):
    """An act on a sending IP."""

    write_permission = "reputation.change_ipstanding"


class Quarantine(OperatorView):
    """Take an IP out."""

    @_act(
        "ips_quarantine",
        "Quarantine a sending IP",
        ActBody,
        {"reason": "Gmail refuses it since noon", "expires_at": "2026-11-21T12:00:00Z"},
    )
    def post(self, request: Request, ip: str) -> Response:
        """Quarantine it until the expiry or until it is lifted; an IP never seen may be quarantined too."""
        address, body = ip_in_path(ip), body_of(request, ActBody)
        overrides.quarantine(address, user=person(request), now=timezone.now(), **body)
        return Response(shown(address))


class Release(OperatorView):
    """Let an IP send."""

    @_act("ips_release", "Release a sending IP", ActBody, {"reason": "the provider confirmed a mistake"})
    def post(self, request: Request, ip: str) -> Response:
        """Healthy whatever the automation says, for 24 hours unless an expiry is given."""
        address, body = ip_in_path(ip), body_of(request, ActBody)
        overrides.release(address, user=person(request), now=timezone.now(), **body)
        return Response(shown(address))


class SetOverride(OperatorView):
    """Set a status."""

    @_act("ips_override", "Override the status of a sending IP", OverrideBody)
    def post(self, request: Request, ip: str) -> Response:
        """Set any status until the expiry or until it is lifted; the automatic one is still computed and shown."""
        address, body = ip_in_path(ip), body_of(request, OverrideBody)
        status = Status(body.pop("status"))
        overrides.override(address, status, user=person(request), now=timezone.now(), **body)
        return Response(shown(address))


class Lift(OperatorView):
    """End an override."""

    @_act("ips_lift", "Lift the override of a sending IP", ReasonBody)
    def post(self, request: Request, ip: str) -> Response:
        """Give the IP back to the automation; 400 when there is no override in force."""
        address, body = ip_in_path(ip), body_of(request, ReasonBody)
        overrides.lift(address, user=person(request), now=timezone.now(), **body)
        return Response(shown(address))


class ScoreNow(OperatorView):
    """Judge an IP at once."""

    @_act("ips_score", "Judge a sending IP now", None)
    def post(self, request: Request, ip: str) -> Response:
        """Judge it by the running window instead of waiting for the next run; without events in it nothing changes."""
        address = ip_in_path(ip)
        standing.score_ips([address], now=timezone.now())
        return Response(shown(address))

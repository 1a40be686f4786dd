"""Circuit breakers: what is paused and why, how it came to it, and the two things that people may do about it."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import breaker_acts, breakers
from reputation.api.acts import ActBody
from reputation.domain.breaker_policy import Scope, State, Trigger
from reputation.models import Breaker, BreakerEvent
from telemetry.api.common import (
    ApiView,
    DomainField,
    IpField,
    NewestFirst,
    PeriodQuery,
    Query,
    between,
    body_of,
    documented,
    equal,
    page_of,
    person,
    query_of,
)
from telemetry.api.words import NamedChoiceField
from telemetry.pagination import Pages

SCOPES = ("ip", "domain", "ip_provider", "domain_provider")


class BreakerStateField(NamedChoiceField):
    """Whether mail flows: in full (closed), not at all (open), or a share (half_open)."""

    component = "BreakerState"
    words = [state.value for state in State]


class BreakerTriggerField(NamedChoiceField):
    """What moved a breaker."""

    component = "BreakerTrigger"
    words = [trigger.value for trigger in Trigger]


class ScopeField(NamedChoiceField):
    """A sender as a whole, or its mail to one mailbox provider."""

    component = "BreakerScope"
    words = list(SCOPES)


class BreakerSerializer(serializers.ModelSerializer[Breaker]):
    """How a breaker stands."""

    scope = ScopeField(source="scope.word")
    state = BreakerStateField()
    trigger = serializers.CharField(help_text="What opened it last; empty: nothing yet.")

    class Meta:
        model = Breaker
        fields = [
            "id",
            "scope",
            "sender",
            "provider",
            "state",
            "step",
            "since",
            "paused_at",
            "reopen_at",
            "pauses",
            "trigger",
            "reason",
            "held",
            "held_until",
            "held_by",
        ]


class BreakerEventSerializer(serializers.ModelSerializer[BreakerEvent]):
    """One transition, with the evidence."""

    from_state = BreakerStateField()
    to_state = BreakerStateField()
    trigger = BreakerTriggerField()
    evidence = serializers.DictField()

    class Meta:
        model = BreakerEvent
        fields = [
            "id",
            "at",
            "from_state",
            "to_state",
            "step",
            "trigger",
            "value",
            "threshold",
            "volume",
            "bound",
            "evidence",
            "paused_at",
            "resumed_at",
            "reopen_at",
            "automated",
            "triggered_by",
            "policy_revision",
            "notes",
        ]


class BreakerQuery(Query):
    """Filters of the list of breakers."""

    state = BreakerStateField(required=False)
    scope = ScopeField(required=False)
    sender = serializers.CharField(required=False, help_text="A sending IP or domain, exactly.")
    provider = serializers.CharField(required=False, help_text="A mailbox provider's id.")


class OpenBreakerBody(ActBody):
    """Whose mail to pause, why, and until when."""

    sending_ip = IpField(required=False)
    sending_domain = DomainField(required=False)
    provider = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=60, help_text="A mailbox provider's id; empty: all."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One sender, of one kind."""
        if ("sending_ip" in attrs) == ("sending_domain" in attrs):
            raise serializers.ValidationError({"sending_ip": "Give either sending_ip or sending_domain."})
        return attrs


class Breakers(ApiView):
    """All breakers."""

    @documented(
        "breakers",
        "breakers_list",
        "List circuit breakers",
        answers={200: BreakerSerializer},
        query=BreakerQuery,
        pages=Pages,
    )
    def get(self, request: Request) -> Response:
        """Those that changed last first. A scope that never left “closed” is not listed."""
        query = query_of(request, BreakerQuery)
        rows = equal(Breaker.objects.order_by("-since", "-id"), query, ("state", "sender", "provider"))
        if "scope" in query:
            kind, _, at_provider = query["scope"].partition("_")
            rows = rows.filter(kind=kind)
            rows = rows.exclude(provider="") if at_provider else rows.filter(provider="")
        return page_of(request, rows, BreakerSerializer)


class BreakerById(ApiView):
    """One breaker."""

    @documented(
        "breakers", "breakers_retrieve", "Show a circuit breaker", answers={200: BreakerSerializer}, problems=[404]
    )
    def get(self, request: Request, pk: int) -> Response:
        """Its state, since when, why, and when the next step is due."""
        return Response(BreakerSerializer(get_object_or_404(Breaker, pk=pk)).data)


class BreakerEvents(ApiView):
    """The transitions of a breaker."""

    @documented(
        "breakers",
        "breakers_events",
        "List the transitions of a circuit breaker",
        answers={200: BreakerEventSerializer},
        query=PeriodQuery,
        pages=NewestFirst,
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """Rows that are written once and never edited, newest first."""
        query = query_of(request, PeriodQuery)
        rows = BreakerEvent.objects.filter(breaker=get_object_or_404(Breaker, pk=pk))
        return page_of(request, between(rows, "at", query), BreakerEventSerializer, NewestFirst)


class OpenBreaker(ApiView):
    """Pause a sender."""

    write_permission = "reputation.change_breaker"

    @documented(
        "breakers",
        "breakers_open",
        "Open a circuit breaker",
        answers={200: BreakerSerializer},
        body=OpenBreakerBody,
        examples=[
            OpenApiExample(
                "Example",
                value={"sending_domain": "shop.example", "provider": "google", "reason": "a bought list"},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        """Nothing passes until the expiry or until it is closed; a sender never seen may be paused too."""
        body = body_of(request, OpenBreakerBody)
        provider = body.pop("provider")
        domain, ip = body.pop("sending_domain", None), body.pop("sending_ip", None)
        scope = Scope("ip", ip, provider) if ip else Scope("domain", domain, provider)
        row = breaker_acts.open_by_hand(scope, user=person(request), now=timezone.now(), **body)
        return Response(BreakerSerializer(row).data)


class CloseBreaker(ApiView):
    """Let a sender send."""

    write_permission = "reputation.change_breaker"

    @documented(
        "breakers",
        "breakers_close",
        "Close a circuit breaker",
        answers={200: BreakerSerializer},
        body=ActBody,
        problems=[404],
    )
    def post(self, request: Request, pk: int) -> Response:
        """Mail flows in full whatever the automation says, for 24 hours unless an expiry is given."""
        breaker, body = get_object_or_404(Breaker, pk=pk), body_of(request, ActBody)
        row = breaker_acts.close_by_hand(breaker, user=person(request), now=timezone.now(), **body)
        return Response(BreakerSerializer(row).data)


class CheckBreakers(ApiView):
    """Judge at once."""

    write_permission = "reputation.change_breaker"

    @documented("breakers", "breakers_check", "Check every circuit breaker now", answers={204: None})
    def post(self, request: Request) -> Response:
        """Judge every sender with mail in the last 24 hours instead of waiting for the next run."""
        breakers.check_all(now=timezone.now())
        return Response(status=204)

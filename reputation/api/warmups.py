"""Warm-ups: who warms up, how far along, how it came to it, and what people may do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import warmup_acts, warmup_detection, warmup_progress
from reputation.api.acts import ReasonBody
from reputation.api.warmup_shapes import (
    DetectedSerializer,
    SkipBody,
    StartBody,
    WarmupEventSerializer,
    WarmupQuery,
    WarmupSerializer,
)
from reputation.domain.breaker_policy import Kind
from reputation.domain.warmup import Schedule, Unit
from reputation.models import Warmup, WarmupEvent
from reputation.models.warmup import schedule_of
from telemetry.api.common import (
    ApiView,
    NewestFirst,
    PeriodQuery,
    between,
    body_of,
    documented,
    equal,
    page_of,
    person,
    query_of,
)
from telemetry.errors import Conflict
from telemetry.pagination import Pages

F = TypeVar("F", bound=Callable[..., Any])


def shown(rows: list[Warmup]) -> list[Warmup]:
    """The rows with `today`, the window in force of those that run; a few queries whatever their number."""
    plans = warmup_progress.today(rows, now=timezone.now())
    for row in rows:
        row.today = plans.get(row.pk)  # type: ignore[attr-defined]
    return rows


def _answer(row: Warmup) -> Response:
    return Response(WarmupSerializer(shown([row])[0]).data)


@contextmanager
def _conflicts() -> Iterator[None]:
    """A warm-up in a state that does not allow an act is a conflict and no mistake in the request."""
    try:
        yield
    except warmup_acts.WrongStateError as error:
        raise Conflict(" ".join(error.messages)) from None


class Warmups(ApiView):
    """All warm-ups."""

    @documented(
        "warm-ups", "warmups_list", "List warm-ups", answers={200: WarmupSerializer}, query=WarmupQuery, pages=Pages
    )
    def get(self, request: Request) -> Response:
        """Those that were made last first, those that have ended included."""
        query = query_of(request, WarmupQuery)
        rows = equal(Warmup.objects.order_by("-created_at", "-id"), query, ("state", "kind", "sender"))
        return page_of(request, rows, WarmupSerializer, prepare=shown)


class WarmupById(ApiView):
    """One warm-up."""

    @documented("warm-ups", "warmups_retrieve", "Show a warm-up", answers={200: WarmupSerializer}, problems=[404])
    def get(self, request: Request, pk: int) -> Response:
        """The day it is at, its schedule, and what was sent in the window in force."""
        return _answer(get_object_or_404(Warmup, pk=pk))


class WarmupEvents(ApiView):
    """The transitions of a warm-up."""

    @documented(
        "warm-ups",
        "warmups_events",
        "List the transitions of a warm-up",
        answers={200: WarmupEventSerializer},
        query=PeriodQuery,
        pages=NewestFirst,
        problems=[404],
    )
    def get(self, request: Request, pk: int) -> Response:
        """Rows that are written once and never edited, newest first."""
        query = query_of(request, PeriodQuery)
        rows = WarmupEvent.objects.filter(warmup=get_object_or_404(Warmup, pk=pk))
        return page_of(request, between(rows, "at", query), WarmupEventSerializer, NewestFirst)


class StartWarmup(ApiView):
    """Warm a sender up."""

    write_permission = "reputation.change_warmup"

    @documented(
        "warm-ups",
        "warmups_start",
        "Start a warm-up",
        answers={200: WarmupSerializer},
        body=StartBody,
        problems=[409],
        examples=[
            OpenApiExample(
                "Example",
                value={"sending_ip": "192.0.2.10", "template": "default", "reason": "a new machine"},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        """It begins with today, whose mail so far counts; a sender that was never seen may be warmed up too."""
        body = body_of(request, StartBody)
        domain, ip = body.pop("sending_domain", None), body.pop("sending_ip", None)
        kind: Kind = "ip" if ip else "domain"
        numbers = body.pop("template", None) or _schedule(body)
        with _conflicts():
            row = warmup_acts.start(kind, ip or domain, numbers, user=person(request), now=timezone.now(), **body)
        return _answer(row)


def _schedule(body: dict[str, Any]) -> Schedule:
    unit, providers = body.pop("unit", Unit.DAY.value), body.pop("provider_amounts", {})
    try:
        return schedule_of(body.pop("amounts"), unit, providers)
    except ValueError as error:
        raise ValidationError({"amounts": f"{str(error).capitalize()}."}) from None


class WarmupAct(ApiView):
    """An act on one warm-up."""

    write_permission = "reputation.change_warmup"

    def _act(self, request: Request, pk: int, act: Callable[..., Warmup], body: dict[str, Any]) -> Response:
        with _conflicts():
            row = act(get_object_or_404(Warmup, pk=pk), user=person(request), now=timezone.now(), **body)
        return _answer(row)


def _described(operation: str, summary: str, body: Any = ReasonBody) -> Callable[[F], F]:
    return documented("warm-ups", operation, summary, answers={200: WarmupSerializer}, body=body, problems=[404, 409])


class ConfirmWarmup(WarmupAct):
    """Take up a proposal."""

    @_described("warmups_confirm", "Confirm a proposed warm-up")
    def post(self, request: Request, pk: int) -> Response:
        """It starts today, by the numbers that were proposed."""
        return self._act(request, pk, warmup_acts.confirm, body_of(request, ReasonBody))


class SkipWarmupDay(WarmupAct):
    """Another day."""

    @_described("warmups_skip", "Skip days of a warm-up", SkipBody)
    def post(self, request: Request, pk: int) -> Response:
        """Go on or back within the schedule; the window in force goes on with that day's volume."""
        return self._act(request, pk, warmup_acts.skip, body_of(request, SkipBody))


class CompleteWarmup(WarmupAct):
    """Call it warm."""

    @_described("warmups_complete", "Complete a warm-up")
    def post(self, request: Request, pk: int) -> Response:
        """Nothing limits the sender any longer."""
        return self._act(request, pk, warmup_acts.complete, body_of(request, ReasonBody))


class CancelWarmup(WarmupAct):
    """End it."""

    @_described("warmups_cancel", "Cancel a warm-up or a proposal")
    def post(self, request: Request, pk: int) -> Response:
        """Nothing limits the sender any longer; the detection leaves it alone for 30 days."""
        return self._act(request, pk, warmup_acts.cancel, body_of(request, ReasonBody))


class DetectWarmups(ApiView):
    """Look at once."""

    write_permission = "reputation.change_warmup"

    @documented("warm-ups", "warmups_detect", "Look for new and cold senders now", answers={200: DetectedSerializer})
    def post(self, request: Request) -> Response:
        """Look instead of waiting for 01:00 UTC, and do what the policy says with who is found."""
        return Response({"made": warmup_detection.detect(now=timezone.now())})

"""What a caller is told of an operation that will go away."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import path
from drf_spectacular.generators import SchemaGenerator
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate

from telemetry.api.common import ApiView, documented
from telemetry.api.deprecation import deprecated


class Told(serializers.Serializer[Any]):
    told = serializers.CharField()


class Old(ApiView):
    """An operation on its way out."""

    @deprecated(date(2026, 11, 1), until=date(2027, 5, 1), instead="/api/new")
    @documented("old", "old_show", "Show", answers={200: Told})
    def get(self, request: Request) -> Response:
        """Something."""
        return Response({"told": "old"})

    @documented("old", "old_make", "Make", answers={200: Told})
    def post(self, request: Request) -> Response:
        """Something else."""
        raise exceptions.NotFound


class Failing(ApiView):
    @deprecated(date(2026, 11, 1), until=date(2027, 5, 1))
    @documented("old", "old_failing", "Fail", answers={200: Told})
    def get(self, request: Request) -> Response:
        """Nothing."""
        raise exceptions.NotFound


urlpatterns = [path("api/old", Old.as_view()), path("api/failing", Failing.as_view())]


def ask(view: Any, method: str = "get", url: str = "/api/old") -> Any:
    request: HttpRequest = getattr(APIRequestFactory(), method)(url)
    force_authenticate(request, User(username="anna", is_staff=True, is_superuser=True, is_active=True))
    return view.as_view()(request)


def test_a_deprecated_operation_says_since_when_until_when_and_what_instead() -> None:
    answer = ask(Old)
    assert answer.status_code == 200
    assert answer["Deprecation"] == "@1793491200"  # 2026-11-01T00:00:00Z (RFC 9745 wants Unix seconds after an "@")
    assert answer["Sunset"] == "Sat, 01 May 2027 00:00:00 GMT"
    assert answer["Link"] == '</api/new>; rel="successor-version"'


def test_its_errors_say_so_too_and_other_operations_do_not() -> None:
    failed = ask(Failing, url="/api/failing")
    assert (failed.status_code, failed["Deprecation"]) == (404, "@1793491200")
    assert "Deprecation" not in ask(Old, "post")


def test_it_still_refuses_parameters_that_it_does_not_know() -> None:
    assert ask(Old, url="/api/old?colour=red").status_code == 400


@pytest.mark.urls(__name__)
def test_the_document_shows_it_as_deprecated() -> None:
    paths = SchemaGenerator(patterns=urlpatterns).get_schema(request=None, public=True)["paths"]
    assert paths["/api/old"]["get"]["deprecated"] is True
    assert paths["/api/old"]["get"]["operationId"] == "old_show"
    assert "deprecated" not in paths["/api/old"]["post"]


def test_nothing_is_taken_away_sooner_than_promised() -> None:
    with pytest.raises(ValueError, match="180 days"):
        deprecated(date(2026, 11, 1), until=date(2027, 4, 1))

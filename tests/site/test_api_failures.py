"""What is answered when no view could answer: below /api/ that is a problem too (RFC 9457)."""

from __future__ import annotations

from typing import NoReturn

import pytest
from django.http import HttpRequest
from django.test import Client
from django.urls import path

from reputation_site import urls as ours

handler400, handler500 = ours.handler400, ours.handler500


def broken(request: HttpRequest) -> NoReturn:
    raise RuntimeError("the secret of the house")


urlpatterns = [path("api/broken", broken), path("broken", broken), *ours.urlpatterns]


@pytest.fixture
def visitor() -> Client:
    return Client(raise_request_exception=False)


@pytest.mark.urls(__name__)
def test_what_nobody_foresaw_is_a_problem_that_tells_nothing_of_the_inside(visitor: Client) -> None:
    answer = visitor.get("/api/broken")
    assert (answer.status_code, answer["Content-Type"]) == (500, "application/problem+json")
    assert answer.json()["status"] == 500
    assert b"secret" not in answer.content


@pytest.mark.urls(__name__)
def test_people_get_a_page(visitor: Client) -> None:
    answer = visitor.get("/broken")
    assert (answer.status_code, answer["Content-Type"].partition(";")[0]) == (500, "text/html")


def test_a_request_for_another_host_is_refused_as_a_problem(visitor: Client) -> None:
    answer = visitor.get("/api/schema", headers={"Host": "elsewhere.example"})
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert "GS_ALLOWED_HOSTS" in answer.json()["detail"]

"""Run by test_replica.py in a process of its own: the replica's server ends a connection in the middle of a page."""

from __future__ import annotations

import os

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "reputation_site.settings"
django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.db import connections, router  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import include, path  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402

from reputation.models import IpStanding  # noqa: E402
from telemetry.api.common import ApiView  # noqa: E402
from tests.e2e.house import until  # noqa: E402

seen: list[str] = []


def shown(*, ending: bool) -> str:
    """Reads twice; between the two its connection to the replica may be ended, as a restart would."""
    seen.append(router.db_for_read(IpStanding))
    count = IpStanding.objects.count()
    if seen[-1] == "replica" and ending:
        with connections["replica"].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pid = cursor.fetchone()[0]
        other = connections["replica"].copy()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        other.close()
    return f"{count} {IpStanding.objects.count()}"


def page(request: HttpRequest) -> HttpResponse:
    """As a page."""
    return HttpResponse(shown(ending="end" in request.GET))


class List(ApiView):
    """As a list of the API, which turns a failing database into an answer of its own."""

    def get(self, request: Request) -> Response:
        return Response(shown(ending="end" in request.GET))


def deciding(request: HttpRequest) -> HttpResponse:
    """A GET that decides."""
    return HttpResponse(router.db_for_read(IpStanding))


deciding.decides = True
pages = [path("page", page), path("list", List.as_view()), path("deciding", deciding)]
urlpatterns = [path("", include((pages, "dashboard")))]
settings.ROOT_URLCONF = __name__
settings.ALLOWED_HOSTS = ["testserver"]


def until_the_replica_is_used() -> None:
    """Pages come from the replica at first, and again after it failed."""
    until(lambda: client.get("/page") and seen[-1] == "replica", seconds=60, what="no page was read from the replica")
    del seen[:]


client = Client()
client.force_login(User.objects.get(username="reader"))
for url, content in (("/page?end=1", b"1 1"), ("/list?end=1", b'"1 1"')):
    until_the_replica_is_used()
    answer = client.get(url)
    assert (answer.status_code, answer.content) == (200, content), (url, answer.status_code, answer.content)
    # Run from the replica, which failed, and again from the primary.
    assert seen == ["replica", "default"], (url, seen)
until_the_replica_is_used()
assert client.get("/deciding").content == b"default"
assert router.db_for_read(IpStanding) == "default", "outside of a request there is no replica"
assert router.db_for_read(User) == "default"
print("done")

"""Pages for people: thin views over page contexts."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from dashboard.pages import blocklists as lists
from dashboard.pages import overview as overviews
from dashboard.pages import permits as pools
from dashboard.pages.first_run import first_run

View = Callable[..., HttpResponseBase]


def staff_page(view: View) -> View:
    """Let staff in and send others to the log-in; a fetched part makes the whole page load anew and go there."""

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.is_active and request.user.is_staff:
            return view(request, *args, **kwargs)
        if "HX-Request" in request.headers:
            return HttpResponse(status=401, headers={"HX-Refresh": "true"})
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))

    return checked


@staff_page
def overview(request: HttpRequest) -> HttpResponse:
    """The fleet at a glance."""
    context = {**_fleet(request), "day": overviews.day(now=timezone.now())}
    return show_page(request, "dashboard/overview.html", "Sending IPs and domains", context)


@staff_page
def overview_fleet(request: HttpRequest) -> HttpResponse:
    """The part of the overview that is fetched anew every few seconds."""
    return show_part(request, "dashboard/parts/fleet.html", _fleet(request))


def _fleet(request: HttpRequest) -> dict[str, Any]:
    now = timezone.now()
    fleet = overviews.fleet(now=now)
    if fleet.has_mail:
        return {"fleet": fleet}
    return {"fleet": fleet, "first": first_run(request.build_absolute_uri("/").rstrip("/"), now=now)}


@staff_page
def overview_day(request: HttpRequest) -> HttpResponse:
    """The chart of the day, fetched anew every half minute."""
    return show_part(request, "dashboard/parts/day.html", {"day": overviews.day(now=timezone.now())})


@staff_page
def pool(request: HttpRequest, pk: int) -> HttpResponse:
    """One pool and who of it takes how much."""
    page = pools.pool_page(pk, now=timezone.now())
    if page is None:
        return not_found(request, "There is no such pool.")
    return show_page(request, "dashboard/pool.html", f"Pool {page.name}", {"page": page})


@staff_page
def blocklists(request: HttpRequest) -> HttpResponse:
    """Who is on which blocklist, and how the lists do."""
    context = {"page": lists.blocklists_page(now=timezone.now())}
    return show_page(request, "dashboard/blocklists.html", "Blocklists", context)


def show_page(
    request: HttpRequest, template: str, title: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """A whole page in the admin's frame."""
    frame = {**admin.site.each_context(request), "title": title}
    response = render(request, template, {**frame, **context}, status=status)
    # Standing is of now: a page from the browser's store would show what is no longer so.
    response.headers["Cache-Control"] = "no-store"
    return response


def show_part(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A part of a page, without the frame."""
    response = render(request, template, context)
    response.headers["Cache-Control"] = "no-store"
    return response


def not_found(request: HttpRequest, message: str) -> HttpResponse:
    """A page that says what there is nothing of."""
    return show_page(request, "dashboard/not_found.html", "Not found", {"message": message}, status=404)

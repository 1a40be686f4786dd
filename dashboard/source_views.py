"""The pages of sources: thin views over page contexts."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from dashboard.pages import sources
from dashboard.views import not_found, show_page, show_part, staff_page
from telemetry.models import Source


@staff_page
def source_list(request: HttpRequest) -> HttpResponse:
    """Every source: silent or not, complete or not."""
    return show_page(request, "dashboard/sources.html", "Sources", {"page": sources.source_list(now=timezone.now())})


@staff_page
def source(request: HttpRequest, name: str) -> HttpResponse:
    """One source: how to connect it, and what came of it."""
    found = Source.objects.filter(name=name).first()
    if found is None:
        return not_found(request, f"There is no source “{name}”.")
    base_url = request.build_absolute_uri("/").rstrip("/")
    page = sources.source_page(found, base_url, now=timezone.now())
    return show_page(request, "dashboard/source.html", f"Source {found.name}", {"page": page})


@staff_page
def source_live(request: HttpRequest, name: str) -> HttpResponse:
    """The part of a source's page that is fetched anew every few seconds."""
    found = Source.objects.filter(name=name).first()
    if found is None:
        return not_found(request, f"There is no source “{name}”.")
    return show_part(request, "dashboard/source_live.html", {"live": sources.live(found, now=timezone.now())})


@staff_page
@require_POST
def source_test(request: HttpRequest, name: str) -> HttpResponse:
    """Take a test event in for the source, and go back to its page."""
    if not request.user.has_perm("telemetry.change_source"):
        raise PermissionDenied
    found = Source.objects.filter(name=name).first()
    if found is None:
        return not_found(request, f"There is no source “{name}”.")
    if not found.is_active:
        messages.error(request, "This source is not active: whatever it sends is answered 403. Make it active first.")
    elif sources.send_test_event(found, now=timezone.now()):
        messages.success(request, "The test event was read, stored and counted.")
    else:
        messages.error(request, "The test event could not be taken; it is kept among the rejected events.")
    if request.POST.get("back") == "overview":
        return redirect("dashboard:overview")
    return redirect("dashboard:source", name=found.name)

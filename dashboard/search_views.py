"""The search: thin views over page contexts."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from dashboard.pages import search as searches
from dashboard.views import show_page, staff_page


@staff_page
def search(request: HttpRequest) -> HttpResponse:
    """What is asked for exactly is gone to; for the rest there are lists."""
    query = searches.cleaned(request.GET.get("q", ""))
    if address := searches.known_ip(query):
        return redirect("dashboard:ip", address)
    if domain := searches.known_domain(query):
        return redirect("dashboard:domain", domain)
    page = searches.find(query, now=timezone.now())
    return show_page(request, "dashboard/search.html", "Search", {"page": page})

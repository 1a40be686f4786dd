"""Pages for people: thin views over page contexts."""

from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect


@staff_member_required
def overview(request: HttpRequest) -> HttpResponse:
    """The fleet at a glance."""
    return redirect("admin:index")

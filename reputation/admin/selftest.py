"""The self-test page: the fifteen scenarios with one button."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from reputation import scenarios
from reputation.admin.labels import STATUS_COLOURS, share
from reputation.domain.scenarios import SCENARIOS
from telemetry.admin.parts import acting_user


def page(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """The fifteen scenarios with one button; for superusers, because they burden the installation."""
    if not acting_user(request).is_superuser:
        raise PermissionDenied
    results: Sequence[scenarios.Result] = ()
    if request.method == "POST":
        if not settings.SELF_TEST_API:
            raise PermissionDenied
        results = scenarios.run_all(now=timezone.now())
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": "Self-test",
        "allowed": settings.SELF_TEST_API,
        "scenarios": SCENARIOS,
        "results": [_as_row(result) for result in results],
        "passed": sum(result.passed for result in results),
        "seconds": round(sum(result.seconds for result in results), 2),
    }
    return TemplateResponse(request, "admin/scenarios.html", context)


def _as_row(result: scenarios.Result) -> dict[str, Any]:
    decision = result.decision
    ratio = float(decision.ratio) if decision and decision.ratio is not None else None
    return {
        "scenario": result.scenario,
        "passed": result.passed,
        "actual": decision.status.value if decision else "–",
        "colour": STATUS_COLOURS[decision.status.value] if decision else "",
        "ratio": share(ratio) if decision else "–",
        "failures": decision.total_rejected if decision else "–",
        "milliseconds": round(result.seconds * 1000),
        "note": result.error or (decision.why if decision else ""),
    }

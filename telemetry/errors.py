"""Errors as the API answers them: problem details (RFC 9457) that name the field where there is one."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import Error as DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.serializers import as_serializer_error
from rest_framework.views import exception_handler

log = logging.getLogger(__name__)

# After this many seconds a sender that was answered 503 may come back: a database restart takes about that long.
RETRY_AFTER = 5


class BodyTooLarge(exceptions.APIException):
    """The request's body is over the limit."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is too large."
    default_code = "too_large"


class BadBody(exceptions.APIException):
    """The request's body cannot be read as a whole; `field` says where."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "bad_body"

    def __init__(self, field: str, message: str) -> None:
        super().__init__({field: [message]})


class TooFast(exceptions.APIException):
    """The source sends more than it may; nothing was stored. `wait` becomes Retry-After."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "too_fast"

    def __init__(self, what: str, per_minute: int, wait: int) -> None:
        super().__init__(
            f"This source may send {per_minute} {what} a minute. Nothing was stored: send it again in {wait} s."
        )
        self.wait = wait


class TryAgain(exceptions.APIException):
    """Nothing was stored; the sender should try again."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The database cannot be written now. Nothing was stored: send it again."
    default_code = "try_again"


class Conflict(exceptions.APIException):
    """The thing asked for is in a state that does not allow it."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


def answer(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: every error as ``application/problem+json``, a failing database as 503.

    What a service refuses with Django's ValidationError is a 400 that names its fields.
    """
    if isinstance(error, ValidationError):
        error = exceptions.ValidationError(as_serializer_error(error))
    if isinstance(error, DatabaseError):
        log.exception("database error", extra={"view": type(context.get("view")).__name__})
        error = TryAgain()
    response = exception_handler(error, context)
    if response is None:
        return None
    response.data = _problem(error, response)
    response.content_type = "application/problem+json"
    if response.status_code == status.HTTP_503_SERVICE_UNAVAILABLE:
        response["Retry-After"] = str(RETRY_AFTER)
    return response


@csrf_exempt  # nothing is changed here, and a page about cookies would be the wrong answer
def no_such_endpoint(request: HttpRequest, rest: str = "") -> JsonResponse:
    """The answer to a URL below /api/ that nothing stands behind; the last of the API's URLs."""
    return _bare(
        404, "Not found", f"There is no {request.method} {request.path[:200]}. The endpoints are listed at /api/docs."
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """The answer to what nobody foresaw: a problem below /api/, Django's page elsewhere. What it was is in the log."""
    if not request.path.startswith("/api/"):
        return defaults.server_error(request)
    detail = "Something went wrong here, and the log says what. Whether anything was stored is not known."
    return _bare(500, "Server error", detail)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The answer to a request that Django refuses before any view sees it, such as one for a host that is not ours."""
    if not request.path.startswith("/api/"):
        return defaults.bad_request(request, exception)
    return _bare(
        400, "Bad request", "The request was refused before it was read: GS_ALLOWED_HOSTS may not name its host."
    )


def _bare(status_code: int, title: str, detail: str) -> JsonResponse:
    problem = {"type": "about:blank", "title": title, "status": status_code, "detail": detail}
    return JsonResponse(problem, status=status_code, content_type="application/problem+json")


def _problem(error: Exception, response: Response) -> dict[str, Any]:
    errors = _field_errors(response.data)
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": _title(error),
        "status": response.status_code,
        "detail": "; ".join(f"{entry['field']}: {entry['message']}" for entry in errors) or _detail(response.data),
    }
    if errors:
        problem["errors"] = errors
    return problem


def problem_of(error: exceptions.APIException) -> dict[str, Any]:
    """The body of the answer to an error that is about no field."""
    return {
        "type": "about:blank",
        "title": _title(error),
        "status": error.status_code,
        "detail": str(error.detail),
    }


def _title(error: Exception) -> str:
    if isinstance(error, Http404):
        return "Not found"
    if isinstance(error, PermissionDenied):
        return "Permission denied"
    code = getattr(error, "default_code", "error")
    return str(code).replace("_", " ").capitalize()


def _detail(data: Any) -> str:
    return str(data.get("detail", "")) if isinstance(data, dict) else str(data)


def _below(prefix: str, name: str | int) -> str:
    """The path of a field or place; what is wrong with an object as a whole is said of the object itself."""
    if isinstance(name, int):
        return f"{prefix or 'body'}[{name}]"
    if name in ("non_field_errors", "__all__"):
        return prefix or "body"
    return f"{prefix}.{name}" if prefix else name


def _field_errors(data: Any, prefix: str = "") -> list[dict[str, str]]:
    if isinstance(data, dict):
        if set(data) == {"detail"} and not prefix:
            return []
        return [entry for name, value in data.items() for entry in _field_errors(value, _below(prefix, name))]
    if isinstance(data, list):
        entries = []
        for index, value in enumerate(data):
            if isinstance(value, dict | list):
                entries += _field_errors(value, f"{prefix}[{index}]")
            else:
                entries.append({"field": prefix or "body", "message": str(value)})
        return entries
    return [{"field": prefix or "body", "message": str(data)}]

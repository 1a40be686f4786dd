"""A provider's request: is it genuine, and which records does it hold."""

from __future__ import annotations

from anymail.exceptions import AnymailWebhookValidationFailure
from django.http import HttpRequest

from telemetry.domain.errors import ParseError
from telemetry.esp.adapter import ODD
from telemetry.esp.catalogue import Envelope, Esp
from telemetry.esp.views import view_of
from telemetry.intake import split_array, split_envelope


class NotGenuineError(Exception):
    """The signature is missing or wrong, or cannot be checked with the key that the source holds."""


def check(esp: Esp, key: str, request: HttpRequest) -> None:
    """Check the request as the provider's view does: its signature, if there is a key, and the form of the whole.

    Raises NotGenuineError, and ParseError for a body that cannot be the provider's.
    """
    try:
        view = view_of(esp, key)
        if key or not esp.signs:
            view.run_validators(request)
    except AnymailWebhookValidationFailure:
        if not esp.signs:
            raise ParseError("body", f"does not fit the headers that {esp.title} sends with it") from None
        raise NotGenuineError(f"The signature of {esp.title} is missing or does not fit the body.") from None
    except ODD as error:
        if esp.signs:
            raise NotGenuineError(
                f"The signature of {esp.title} could not be checked ({type(error).__name__}): "
                "is the source's key the one that the provider shows for this webhook?"
            ) from None
        raise ParseError("body", f"is not what {esp.title} documents ({type(error).__name__})") from None


def records(esp: Esp, request: HttpRequest) -> list[bytes]:
    """The records of the body, each as one text. Raises ParseError for a body that is not what it should be."""
    try:
        if request.content_type != "application/json" and esp.envelope is Envelope.FORM:
            return split_array(request.POST["mandrill_events"].encode("utf-8", "surrogatepass"))
        if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
            return [request.POST.urlencode().encode()]
    except ODD as error:
        raise ParseError("body", f"is not what {esp.title} documents ({type(error).__name__})") from None
    if esp.envelope is Envelope.EVENTS:
        return split_envelope(request.body)
    if esp.envelope is Envelope.ARRAY:
        return split_array(request.body)
    _refuse_other_than_object(request.body)
    return [request.body]


def _refuse_other_than_object(body: bytes) -> None:
    if body.lstrip()[:1] != b"{":
        raise ParseError("body", "is no JSON object")
    split_array(body)

"""The WSGI callable that the web server imports."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")

_django = get_wsgi_application()

# After Django is set up. This process serves: what permits go by is kept fresh behind the requests.
from reputation import permit_keeper  # noqa: E402
from telemetry.log_context import HEADER, bound, request_id  # noqa: E402

permit_keeper.switch_on()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Django, with chunked bodies given a length.

    WSGI has no word for a body of unknown length, and Django takes a missing Content-Length for an empty body: a sender
    that streams its events would lose them. One byte over the limit is read, so that a larger body is refused.
    """
    if "CONTENT_LENGTH" not in environ and "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        body = environ["wsgi.input"].read(settings.MAX_BODY_BYTES + 1)
        environ["wsgi.input"] = BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
    name = environ.get("gs.request_id") or request_id(environ.get("HTTP_X_REQUEST_ID", ""))

    def start_with_id(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        return start_response(status, [*headers, (HEADER, name)], exc_info)

    with bound(request_id=name):
        return _django(environ, start_with_id)

"""The one way out over HTTP to addresses that somebody typed in.

Whoever may enter a URL must not reach what only this machine can reach: the name is looked up once, an answer that lies
in a private network is refused (unless GS_ALLOW_PRIVATE_URLS is on), and the connection goes to the address that was
checked, so that a second answer of the name server changes nothing. No redirect is followed, no proxy is asked, and
time and size have limits that hold however slowly an answer drips.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from django.conf import settings

from telemetry.domain.errors import ParseError
from telemetry.domain.web_address import WebAddress, is_public, web_address

# The system's resolver knows no deadline: it is waited for in threads of their own, at most so many.
_LOOKUPS = ThreadPoolExecutor(max_workers=8, thread_name_prefix="lookup")


class Trouble(StrEnum):
    """Why there is no answer."""

    BAD_URL = "bad_url"
    PRIVATE = "private_address"
    NOT_FOUND = "name_not_found"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS = "tls"
    NOT_HTTP = "not_http"
    REDIRECT = "redirect"
    TOO_LARGE = "too_large"


class OutboundError(Exception):
    """There is no answer; `trouble` says why, the message says it to people and holds no secret."""

    def __init__(self, trouble: Trouble, message: str) -> None:
        super().__init__(message)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: any status but a redirect."""

    status: int
    body: bytes


def send(
    method: str,
    url: str,
    *,
    timeout: timedelta,
    most_bytes: int,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    login: str = "",
) -> Answer:
    """One request; `login` is "user:password" for Basic authentication. Raises OutboundError, within the timeout."""
    deadline = time.monotonic() + timeout.total_seconds()
    try:
        target = web_address(url, "The address")
    except ParseError as error:
        raise OutboundError(Trouble.BAD_URL, f"{error.field} {error.message}.") from None
    connection = _Pinned(target, checked_address(target.host, target.port, deadline), deadline)
    sent = {"User-Agent": "good-standing", "Accept-Encoding": "identity", "Connection": "close", **(headers or {})}
    if login:
        sent["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    try:
        connection.request(method, target.path, body, sent)
        response = connection.getresponse()
        content = response.read(most_bytes + 1)
    except (OSError, http.client.HTTPException) as error:
        raise _trouble(error, late=connection.expired or time.monotonic() >= deadline) from None
    finally:
        connection.stop_clock()
        connection.close()
    if connection.expired:  # what was cut off may look whole
        raise _trouble(None, late=True)
    if 300 <= response.status < 400:
        raise OutboundError(Trouble.REDIRECT, f"It answered {response.status}: redirects are not followed.")
    if len(content) > most_bytes:
        raise OutboundError(Trouble.TOO_LARGE, f"The answer is longer than {most_bytes} bytes.")
    return Answer(response.status, content)


def _trouble(error: Exception | None, *, late: bool) -> OutboundError:
    if late or isinstance(error, TimeoutError):
        return OutboundError(Trouble.TIMEOUT, "There was no whole answer in time.")
    if isinstance(error, ssl.SSLError):
        return OutboundError(Trouble.TLS, f"TLS failed: {error.reason or type(error).__name__}.")
    if isinstance(error, http.client.HTTPException):
        return OutboundError(Trouble.NOT_HTTP, "The answer is not HTTP.")
    told = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return OutboundError(Trouble.UNREACHABLE, f"The connection failed: {told}.")


def checked_address(host: str, port: int, deadline: float, *, may_be_private: bool = False) -> str:
    """The address to connect to, looked up once, until the deadline (of `time.monotonic`). Raises OutboundError.

    One that lies in a private network is refused unless all may (GS_ALLOW_PRIVATE_URLS) or this one.
    """
    asked = _LOOKUPS.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        answers = asked.result(timeout=max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        asked.cancel()
        raise OutboundError(Trouble.TIMEOUT, f"The name {host} was not resolved in time.") from None
    except (OSError, UnicodeError):
        raise OutboundError(Trouble.NOT_FOUND, f"The name {host} cannot be resolved.") from None
    addresses = [str(answer[4][0]) for answer in answers]
    allowed = may_be_private or settings.ALLOW_PRIVATE_URLS
    if not allowed and not all(is_public(address) for address in addresses):
        raise OutboundError(
            Trouble.PRIVATE,
            f"{host} lies in a private network. To allow that, set GS_ALLOW_PRIVATE_URLS=true and restart.",
        )
    return addresses[0]


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was checked, cut off at its deadline."""

    def __init__(self, target: WebAddress, address: str, deadline: float) -> None:
        super().__init__(target.host, target.port)
        self.expired = False
        self.default_port = 443 if target.scheme == "https" else 80  # which the Host header leaves out
        self._target, self._address, self._deadline = target, address, deadline
        self._timer: threading.Timer | None = None
        self._wire: socket.socket | None = None

    def connect(self) -> None:
        """Connect, and set the clock. Raises OSError."""
        left = max(0.001, self._deadline - time.monotonic())
        self.sock = self._wire = socket.create_connection((self._address, self._target.port), timeout=left)
        # A socket's own timeout begins anew at every byte; the clock does not.
        self._timer = threading.Timer(max(0.0, self._deadline - time.monotonic()), self._cut)
        self._timer.daemon = True
        self._timer.start()
        if self._target.scheme == "https":
            secured = ssl.create_default_context().wrap_socket(
                self.sock, server_hostname=self._target.host, do_handshake_on_connect=False
            )
            self.sock = self._wire = secured
            secured.do_handshake()

    def _cut(self) -> None:
        self.expired = True
        try:
            # Not the TLS socket's own shutdown, which takes its state away under the reader. And not `self.sock`,
            # which http.client gives away with the answer.
            if self._wire is not None:
                socket.socket.shutdown(self._wire, socket.SHUT_RDWR)
        except OSError:  # closed already: the reader was done
            return

    def stop_clock(self) -> None:
        """The answer is read; nothing is left to cut off."""
        if self._timer is not None:
            self._timer.cancel()

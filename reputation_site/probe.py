"""``python -m reputation_site.probe web``: exit code 0 when that process of this machine or container does its work.

For HEALTHCHECK lines and for `serve`: it reads the settings, loads no apps and asks no database, so it may run often.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

from django.conf import settings

PATIENCE = 5.0  # seconds, for one answer
# Beat looks at its table at least every few seconds (CELERY_BEAT_MAX_LOOP_INTERVAL).
BEAT_WITHIN = timedelta(minutes=1)
# A request that is not at the state where permits are counted: answered from memory, and nothing is written down.
_QUESTION = b"request=smtpd_access_policy\nprotocol_state=CONNECT\n\n"


def local_address(host: str = "") -> str:
    """The address at which this machine reaches what listens on `host`; without one, our web process."""
    host = host or settings.LISTEN_HOST
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def own_host_name() -> str:
    """A Host header that our web process accepts."""
    return next((name.lstrip(".") for name in settings.ALLOWED_HOSTS if name.strip("*.")), "localhost")


def web_answers(path: str = "/healthz", *, within: float = PATIENCE) -> bool:
    """Whether our web process answers 200."""
    connection = http.client.HTTPConnection(local_address(), settings.LISTEN_PORT, timeout=within)
    try:
        connection.request("GET", path, headers={"Host": own_host_name()})
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def policyd_answers() -> bool:
    """Whether the policy service answers; true where it is switched off."""
    if settings.POLICYD_LISTEN == "off":
        return True
    host, _, port = settings.POLICYD_LISTEN.rpartition(":")
    try:
        with socket.create_connection((local_address(host.strip("[]")), int(port)), timeout=PATIENCE) as asked:
            asked.sendall(_QUESTION)
            return asked.recv(1024).startswith(b"action=")
    except OSError:
        return False


def worker_answers() -> bool:
    """Whether the worker of this machine answers over the broker."""
    from celery import Celery

    # Without our tasks: only the broker's address is wanted.
    app = Celery("probe", broker=settings.CELERY_BROKER_URL, set_as_current=False)
    app.conf.broker_connection_retry = False
    app.conf.broker_transport_options = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
    try:
        return bool(app.control.ping(destination=[f"celery@{socket.gethostname()}"], timeout=PATIENCE))
    except Exception as error:  # noqa: BLE001 - whatever the transport raises means the same here
        sys.stderr.write(f"{type(error).__name__}\n")
        return False


def beat_ticks() -> bool:
    """Whether beat looked at its table lately."""
    from reputation_site.beat import alive_file

    try:
        return time.time() - alive_file(settings.CELERY_BEAT_SCHEDULE_FILENAME).stat().st_mtime < BEAT_WITHIN.seconds
    except FileNotFoundError:
        return False


PROBES: dict[str, Callable[[], bool]] = {
    "web": web_answers,
    "ready": lambda: web_answers("/readyz"),
    "policyd": policyd_answers,
    "worker": worker_answers,
    "beat": beat_ticks,
}


def main(arguments: list[str]) -> int:
    """The exit code."""
    if len(arguments) != 1 or arguments[0] not in PROBES:
        sys.stderr.write(f"usage: python -m {Path(__file__).parent.name}.probe {'|'.join(PROBES)}\n")
        return 2
    return 0 if PROBES[arguments[0]]() else 1


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
    sys.exit(main(sys.argv[1:]))

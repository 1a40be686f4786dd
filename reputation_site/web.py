"""The web process: ``python -m reputation_site.web`` becomes granian with what the settings say.

The settings are read without loading the apps, and the process is replaced, so granian's main process stays small.
Granian at SIGTERM (tried, see tests/site/test_serve.py): it stops listening, closes idle connections, finishes every
request it has begun to read, its body too, and ends.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta

from django.conf import settings

# How long requests that were accepted may take to finish once we were asked to stop. A client that never finishes
# sending its body must not keep us for ever.
FINISH_WITHIN = timedelta(seconds=30)
# Requests under way beyond those that wait to be recorded: so many can be told to try again, or look at a page. The
# rest stay in the kernel's queue and are not read.
MORE = 1_000


def command() -> list[str]:
    """Granian's command line."""
    return [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--no-ws"),
        *("--host", settings.LISTEN_HOST, "--port", str(settings.LISTEN_PORT)),
        *("--workers", str(settings.WEB_WORKERS), "--backpressure", str(settings.INGEST_MOST_WAITING + MORE)),
        *("--workers-kill-timeout", str(int(FINISH_WITHIN.total_seconds()))),
        # Granian has a format of its own; what it does every day is not worth breaking ours.
        *("--log-level", "debug" if settings.LOG_LEVEL == "DEBUG" else "error"),
        "reputation_site.asgi:application",
    ]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns when it is not there
    arguments = command()
    os.execv(arguments[0], arguments)  # noqa: S606

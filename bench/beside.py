"""One-event requests at a fixed rate, alone and while another client sends large bodies one after the other.

Each large body is answered after its commit too. What is measured is the latency of the small requests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
django.setup()

from bench.http import PATH, Run, load, web  # noqa: E402
from telemetry import sql  # noqa: E402
from telemetry.models import SendingEvent, Source  # noqa: E402
from telemetry.tokens import issue_token  # noqa: E402


@contextmanager
def large_bodies(url: str, token: str, size: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Send bodies of that many events over one connection meanwhile; what came back is filled in at the end."""
    result: dict[str, Any] = {}
    if not size:
        yield result
        return
    command = [sys.executable, "-m", "bench.load", f"{url}{PATH}", token, "--size", str(size)]
    command += ["--seconds", str(seconds), "--connections", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield result
    result.update(json.loads(process.communicate()[0]))


def main() -> None:
    """Measure and print the rows as JSON."""
    seconds = 3.0 if "--quick" in sys.argv else 15.0
    rate = 1_000 if sql.on_postgres() else 300
    token = issue_token(Source.objects.create(name="bench"))
    table, sent = [], 0
    with web(1) as url:
        load(url, token, Run(1, None, 8), 1.0)
        sent = SendingEvent.objects.count()
        for size in (0, 1_000, 10_000):
            with large_bodies(url, token, size, seconds + 1) as large:
                small = load(url, token, Run(1, rate, 128), seconds)
            sent += small["statuses"].get("200", 0) + size * large.get("statuses", {}).get("200", 0)
            table.append((size, small, large))
    assert SendingEvent.objects.count() == sent, "what was acknowledged is not what is stored"
    print(
        json.dumps(
            [
                {
                    "beside them": f"bodies of {size:,} events" if size else "nothing",
                    "offered, requests/s": f"{rate:,}",
                    "answered 200": f"{small['statuses'].get('200', 0):,}",
                    "p50 / p95 / p99 / longest, ms": " / ".join(
                        f"{small[name]:.1f}" for name in ("p50", "p95", "p99", "max")
                    ),
                    "large bodies, events/s": f"{large['events_per_second']:,.0f}" if large else "",
                    "a large body, p50, ms": f"{large['p50']:,.0f}" if large else "",
                }
                for size, small, large in table
            ]
        )
    )


if __name__ == "__main__":
    main()

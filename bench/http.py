"""The documented webhook over HTTP: client, web processes and database on the same cores, each answer after its commit.

What is offered is either as much as is answered (a number of connections, each sending its next request at once), or a
fixed rate in an open loop (`bench.load`). Raw rows are those of the same events, by COPY or INSERT with a unique key, a
thousand a transaction, by one client, measured before and after in the same run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
django.setup()

from bench.ingest import per_second, raw, raw_rows, raw_table  # noqa: E402
from telemetry import sql  # noqa: E402
from telemetry.models import SendingEvent, Source  # noqa: E402
from telemetry.tokens import issue_token  # noqa: E402
from tests.servers import free_port  # noqa: E402

PATH = "/api/webhooks/stalwart/delivery-failure"
RAW_ROWS = 60_000


class Run(NamedTuple):
    """One measurement: events per request, requests per second offered (None: as many as answered), connections."""

    size: int
    rate: int | None
    connections: int


RUNS = (Run(1, None, 128), Run(1, 1_000, 128), Run(1, 5_000, 256), Run(100, None, 24), Run(1_000, None, 8))
SQLITE_RUNS = (Run(1, None, 64), Run(1, 1_000, 64), Run(100, None, 16), Run(1_000, None, 4))


@contextmanager
def web(workers: int) -> Iterator[str]:
    """The web process of the Procfile on a free port; its URL."""
    port = free_port()
    environment = os.environ | {"GS_PORT": str(port), "GS_WEB_WORKERS": str(workers), "GS_LOG_LEVEL": "ERROR"}
    process = subprocess.Popen([sys.executable, "-m", "reputation_site.web"], env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{url}/healthz", timeout=2).close()
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def processor_seconds() -> dict[str, float]:
    """Processor time of the machine's processes so far: ours by kind."""
    spent = {"web": 0.0, "database": 0.0}
    tick = os.sysconf("SC_CLK_TCK")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        kind = "web" if b"reputation_site.asgi" in command else "database" if command.startswith(b"postgres:") else ""
        if kind:
            spent[kind] += (int(fields[11]) + int(fields[12])) / tick
    return spent


def load(url: str, token: str, run: Run, seconds: float) -> dict[str, Any]:
    """Let the generator send; what it measured, and the processor time spent meanwhile per event."""
    command = [sys.executable, "-m", "bench.load", f"{url}{PATH}", token, "--size", str(run.size)]
    command += ["--seconds", str(seconds), "--connections", str(run.connections)]
    command += ["--rate", str(run.rate)] if run.rate else []
    before = processor_seconds()
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    events = max(1, result["statuses"].get("200", 0)) * run.size
    for kind, spent in processor_seconds().items():
        result[kind] = 1e6 * (spent - before[kind]) / events
    result["client"] = 1e6 * result["cpu"] / events
    return result


def main() -> None:
    """Measure and print the rows as JSON."""
    seconds = 2.0 if "--quick" in sys.argv else 10.0
    source = Source.objects.create(name="bench")
    token = issue_token(source)
    raw_table()
    limits = []

    def limit() -> None:
        rows = raw_rows(source, RAW_ROWS if seconds > 5 else RAW_ROWS // 10)
        batches = [rows[start : start + 1_000] for start in range(0, len(rows), 1_000)]
        limits.append(per_second(batches, raw, len(rows)))

    limit()
    workers = len(os.sched_getaffinity(0)) if sql.on_postgres() else 1
    acknowledged, table = 0, []
    with web(workers) as url:
        load(url, token, Run(1, None, 8), 1.0)
        acknowledged = SendingEvent.objects.count()
        for run in RUNS if sql.on_postgres() else SQLITE_RUNS:
            result = load(url, token, run, seconds)
            acknowledged += result["statuses"].get("200", 0) * run.size
            table.append((run, result))
    limit()
    assert SendingEvent.objects.count() == acknowledged, "what was acknowledged is not what is stored"
    most = sum(limits) / len(limits)
    print(
        json.dumps(
            [
                {
                    "web processes": workers,
                    "events per request": run.size,
                    "offered, requests/s": f"{run.rate:,}" if run.rate else f"all, {run.connections} connections",
                    "answered 200, requests/s": f"{result['requests_per_second']:,.0f}",
                    "events/s": f"{result['events_per_second']:,.0f}",
                    "of raw rows": "" if run.rate else f"{result['events_per_second'] / most:.2f} of {most:,.0f}",
                    "p50 / p95 / p99, ms": f"{result['p50']:.1f} / {result['p95']:.1f} / {result['p99']:.1f}",
                    "µs of processor per event: web, database, client": " ".join(
                        f"{result[kind]:.0f}" for kind in ("web", "database", "client")
                    ),
                    "refused": str(result["requests"] - result["statuses"].get("200", 0)),
                }
                for run, result in table
            ]
        )
    )


if __name__ == "__main__":
    main()

"""More web processes on one database: do they add up where the wait, and not the processor, is the limit?

Two cores cannot show that four processes compute twice as much as two. What keeps a process waiting can be shown: it
records one batch of large requests at a time, so while a commit waits it waits. Here a commit waits for a synchronous
replica that shows it LATER after the primary wrote it, as a database would whose replica is far away or busy; the
replica is real and streams. The processes are the Procfile's `web`, each with a port and a load generator of its own.

Once the senders differ (each process takes the mail of its own sending IPs, as when each mail server reports to a
fixed process), once all processes take mail of the same IPs. There, transactions meet in the counters' rows, and
whoever comes second waits for the first one's commit.

Afterwards everything acknowledged must be stored once and counted once; some requests are sent again, to another
process, and must be new to nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psycopg

from bench.load import Load, percentile
from tests.e2e.house import ROOT, House, until
from tests.servers import Postgres, free_port, valkey, with_children
from tests.site.replicated import Standby

PATH = "/api/webhooks/stalwart/delivery-failure"
LATER = timedelta(milliseconds=400)
SIZE = 100  # more than goes through the line of small requests, so at most 1,000 events share a commit
CONNECTIONS = 120  # in all, whatever the number of processes: enough to keep four busy
MACHINES = (1, 2, 4)
SECONDS, QUICK_SECONDS = 20.0, 4.0
SENT_AGAIN = 5
MAKE_TOKENS = """
from telemetry.models import Source
from telemetry.tokens import issue_token
for number in range(4):
    print(issue_token(Source.objects.create(name=f"mta-{number}")))
"""


class Recorded(Load):
    """A load of one mail server's own sending IPs (or those that all share), which remembers its first requests."""

    def __init__(self, url: str, token: str, connections: int, subnet: str) -> None:
        super().__init__(url, token, SIZE, None, connections)
        self.kept: list[bytes] = []
        fresh: Callable[[], bytes] = self.body

        def body() -> bytes:
            made = fresh().replace(b'"192.0.2.', f'"{subnet}.'.encode())
            if len(self.kept) < SENT_AGAIN:
                self.kept.append(made)
            return made

        self.body = body


def client(options: argparse.Namespace) -> None:
    """Send for that long to one process, and then some requests again to another one; print what came back."""
    load = Recorded(options.url, options.token, options.connections, options.subnet)
    start = time.perf_counter()
    outcome = asyncio.run(load.run(options.seconds))
    took = time.perf_counter() - start
    new = 0
    for body in load.kept:
        headers = {"Authorization": f"Bearer {options.token}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(options.again, body, headers), timeout=60) as answer:
            new += SIZE - json.load(answer)["duplicates"]
    print(
        json.dumps(
            {
                "statuses": {str(status): count for status, count in outcome.statuses.items()},
                "lost": outcome.broken + load.under_way,
                "latencies": [round(value, 4) for value in outcome.latencies],
                "took": took,
                "cpu": time.process_time(),
                "new": new,
            }
        )
    )


def processor_seconds(pids: list[int]) -> float:
    """What these processes and all that they started have used of the processor."""
    ticks = 0
    for pid in {one for root in pids for one in with_children(root)}:
        with suppress(OSError):  # one of the database's helpers, which come and go
            ticks += sum(int(word) for word in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


class Bench:
    """A database whose commits wait, and web processes before it."""

    def __init__(self, home: House, seconds: float, databases: list[int]) -> None:
        self.home, self.seconds, self.databases = home, seconds, databases
        self.tokens = home.manage("shell", "--no-imports", "-c", MAKE_TOKENS).split()
        self.ports = [free_port() for _ in range(max(MACHINES))]

    def start_webs(self) -> None:
        """As many as the largest measurement needs; those that are not asked do nothing."""
        for number, port in enumerate(self.ports):
            self.home.start("web", f"web{number}", GS_PORT=str(port))
        for port in self.ports:
            self.home.port = port
            until(self.home.answers, seconds=60, what=f"a web process did not answer\n{self.home.logs()}")

    def total(self, sql: str) -> int:
        """One number from the database."""
        with psycopg.connect(self.home.environment["DATABASE_URL"]) as connection:
            return int(connection.execute(sql).fetchone()[0] or 0)

    def state(self) -> tuple[int, int, int]:
        """Raw rows, different events among them, and events in the counters."""
        return (
            self.total("SELECT count(*) FROM telemetry_sendingevent"),
            self.total("SELECT count(DISTINCT event_id) FROM telemetry_sendingevent"),
            self.total("SELECT sum(delivered + bounced) FROM telemetry_trafficminute"),
        )

    def measure(self, machines: int, *, shared: bool) -> dict[str, str]:
        """One row: that many processes, the same number of connections in all."""
        run = secrets.randbelow(200) + 10
        ours = [*self.databases, *(process.pid for process in self.home.processes.values())]
        before, used = self.state(), processor_seconds(ours)
        clients = []
        for number in range(machines):
            url = f"http://127.0.0.1:{self.ports[number]}{PATH}"
            again = f"http://127.0.0.1:{self.ports[(number + 1) % len(self.ports)]}{PATH}"
            token = self.tokens[0 if shared else number]
            subnet = f"10.{run}.{0 if shared else number}"
            words = ("--connections", str(CONNECTIONS // machines), "--seconds", str(self.seconds))
            command = [sys.executable, "-m", "bench.machines", "--client", url, token, again, subnet, *words]
            clients.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        outcomes = [json.loads(one.communicate()[0]) for one in clients]
        used, after = processor_seconds(ours) - used, self.state()
        took = max(one["took"] for one in outcomes)
        answered = sum(one["statuses"].get("200", 0) for one in outcomes)
        acknowledged = answered * SIZE
        stored, different, counted = (then - now for then, now in zip(after, before, strict=True))
        if any(one["lost"] for one in outcomes) or sum(len(one["statuses"]) for one in outcomes) != machines:
            raise SystemExit(f"some requests were not answered 200: {[one['statuses'] for one in outcomes]}")
        if not acknowledged == stored == different == counted:
            raise SystemExit(f"{acknowledged} acknowledged, {stored} stored ({different} different), {counted} counted")
        latencies = sorted(value for one in outcomes for value in one["latencies"])
        return {
            "web processes": str(machines),
            "sending IPs": "the same everywhere" if shared else "each its own",
            "events/s": f"{acknowledged / max(one['took'] for one in outcomes):,.0f}",
            "p50, ms": f"{percentile(latencies, 0.5):,.0f}",
            "p99, ms": f"{percentile(latencies, 0.99):,.0f}",
            "cores used": f"{(used + sum(one['cpu'] for one in outcomes)) / took:.1f}",
            "acknowledged = stored = counted": f"{acknowledged:,}",
            "new when sent again elsewhere": str(sum(one["new"] for one in outcomes)),
        }


def main(seconds: float) -> list[dict[str, str]]:
    """All rows."""
    folder = Path(tempfile.mkdtemp(prefix="gs-machines-"))
    primary = Postgres(durable=True).start()
    standby = None
    try:
        with valkey() as redis_url:
            home = House(folder, primary.url, redis_url)
            home.environment["GS_LOG_LEVEL"] = "ERROR"
            home.manage("migrate", "--verbosity=0")
            standby = Standby(primary, recovery_min_apply_delay=f"{LATER.total_seconds():.3f}s")
            bench = Bench(home, seconds, [*primary.pids(), standby.pid])
            with psycopg.connect(primary.url, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                connection.execute("ALTER SYSTEM SET synchronous_commit = 'remote_apply'")
                connection.execute("SELECT pg_reload_conf()")
            bench.start_webs()
            try:
                return [bench.measure(machines, shared=shared) for shared in (False, True) for machines in MACHINES]
            finally:
                home.stop()
    finally:
        if standby is not None:
            standby.kill()
        primary.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.machines")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--client", nargs=4, metavar=("URL", "TOKEN", "AGAIN", "SUBNET"))
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    if given.client:
        given.url, given.token, given.again, given.subnet = given.client
        client(given)
    elif os.environ.get("DATABASE_URL", "").startswith("postgres"):
        print(json.dumps(main(QUICK_SECONDS if given.quick else SECONDS)))
    else:
        print("[]")  # several web processes are for PostgreSQL

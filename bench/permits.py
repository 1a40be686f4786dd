"""Permits at a fixed rate. The policy service has one core, its clients and the database the other; in the same run a
service of the same framework that knows nothing is asked the same. Over HTTP nothing is pinned.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
django.setup()

from bench.http import web  # noqa: E402
from reputation.models import SendingIP, SendingPolicy  # noqa: E402
from reputation.sending_policies import change_sending_policy  # noqa: E402
from telemetry.models import Source  # noqa: E402
from telemetry.tokens import issue_token  # noqa: E402
from tests.servers import free_port, valkey  # noqa: E402

CHECKS, REQUESTS = 2_000, 500
CORES = sorted(os.sched_getaffinity(0))


def on(core: int, command: Sequence[str], **more: Any) -> Any:
    """Start a program on one core."""
    return subprocess.Popen(["taskset", "-c", str(core), *command], **more)


@contextmanager
def served(command: Sequence[str], port: int, environment: dict[str, str] | None = None) -> Iterator[str]:
    """A policy service on the first core; its address."""
    process = on(CORES[0], command, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def asked(what: str, where: str, rate: int, seconds: float, token: str = "") -> dict[str, Any]:
    """What the generator measured."""
    command = [sys.executable, "-m", "bench.permit_load", what, where, "--rate", str(rate), "--seconds", str(seconds)]
    command += ["--token", token] if token else []
    process = on(CORES[-1], command, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(process.communicate()[0])
    return found


def row(what: str, rate: int, found: dict[str, Any], seconds: float) -> dict[str, str]:
    """One line of the table."""
    return {
        "asked": what,
        "offered/s": f"{rate:,}",
        "answered/s": f"{found['answers'] / seconds:,.0f}",
        "held back": f"{found['statuses'].get('451', 0):,}",
        "p50 / p95 / p99 / longest, ms": " / ".join(f"{found[name]:.2f}" for name in ("p50", "p95", "p99", "max")),
    }


def policyd(environment: dict[str, str]) -> tuple[list[str], int, dict[str, str]]:
    """The command of our policy service, its port and its environment."""
    port = free_port()
    command = [sys.executable, "manage.py", "policyd", "--listen", f"127.0.0.1:{port}", "--socketmap", "off"]
    return command, port, environment | {"GS_LOG_LEVEL": "ERROR"}


def main() -> None:
    """Measure and print the rows as JSON."""
    seconds = 3.0 if "--quick" in sys.argv else 20.0
    token = issue_token(Source.objects.create(name="bench"))
    SendingIP.objects.bulk_create(SendingIP(ip=f"192.0.2.{number}") for number in range(1, 5))
    policy = SendingPolicy.objects.get(pool__is_default=True)
    policy = change_sending_policy(policy, {"mode": "enforce"}, user=None, reason="bench")
    limited = {"domain_limit_per_hour": 1_000_000, "ip_limit_per_hour": 10_000_000}
    table = []
    with ExitStack() as stack:
        redis_url = stack.enter_context(valkey())
        for limits in ({}, limited):
            change_sending_policy(policy, dict(limits), user=None, reason="bench")
            port = free_port()
            with served([sys.executable, "-m", "bench.noop_policyd", str(port)], port) as where:
                table.append(
                    row("a service that knows nothing", CHECKS, asked("policy", where, CHECKS, seconds), seconds)
                )
            for store, url in (("Redis", redis_url), ("the database", "")):
                if not limits and store == "Redis":
                    continue
                what = f"policyd, two caps each, budgets in {store}" if limits else "policyd, nothing to spend"
                command, port, environment = policyd(dict(os.environ) | {"REDIS_URL": url})
                with served(command, port, environment) as where:
                    asked("policy", where, CHECKS, 1.0)
                    table.append(row(what, CHECKS, asked("policy", where, CHECKS, seconds), seconds))
        os.environ["REDIS_URL"] = redis_url
        with web(1) as url:
            where = f"{url}/api/permits"
            asked("http", where, 50, 1.0, token)
            what = "POST /api/permits, two caps each, budgets in Redis"
            table.append(row(what, REQUESTS, asked("http", where, REQUESTS, seconds, token), seconds))
    print(json.dumps(table))


if __name__ == "__main__":
    main()

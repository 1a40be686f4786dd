"""The whole house as processes: web, workers and beats from the Procfile, a Valkey server, a database of its own."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from tests.servers import free_port, valkey

ROOT = Path(__file__).resolve().parent.parent.parent


def until(condition: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """Wait until the condition is true and return its value; fails with a sentence when it does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s")


@contextmanager
def own_database(folder: Path, *, empty: bool = False) -> Iterator[str]:
    """DATABASE_URL of a new database of the kind that the suite runs on; migrated, unless an empty one is wanted."""
    server = os.environ.get("TESTS_DATABASE_URL")
    if server is None:
        file = folder / "house.sqlite3"
        if not empty:
            shutil.copy(migrated(None), file)
        yield f"sqlite:///{file}"
        return
    name = f"house_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {'template1' if empty else migrated(server)}")
    yield server.rsplit("/", 1)[0] + f"/{name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@cache
def migrated(server: str | None) -> str:
    """A database that was migrated once and is copied from then on: its file, or its name on the server."""
    folder = Path(tempfile.mkdtemp(prefix="gs-house-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    name = str(folder / "house.sqlite3") if server is None else f"migrated_{secrets.token_hex(4)}"
    url = f"sqlite:///{name}"
    if server is not None:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        url = server.rsplit("/", 1)[0] + f"/{name}"
    House(folder, url, "").manage("migrate", "--verbosity=0")
    return name


class House:
    """Processes that share one environment."""

    def __init__(self, folder: Path, database_url: str, redis_url: str) -> None:
        self.port = free_port()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("GS_")} | {
            "GS_DATA_DIR": str(folder),
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "GS_PORT": str(self.port),
            "GS_WORKER_CONCURRENCY": "1",
            # No test asks the world's name servers.
            "GS_PERMIT_MX_LOOKUPS": "off",
            "GS_DNS_SERVERS": "127.0.0.1:9",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def manage(self, *arguments: str) -> str:
        """Run a management command and return what it printed."""
        done = subprocess.run(
            self.command(*arguments), env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    def command(self, *arguments: str) -> list[str]:
        """The words of a management command, to run in the house's environment."""
        return [sys.executable, str(ROOT / "manage.py"), *arguments]

    def start(self, line: str, name: str = "", **extra: str) -> subprocess.Popen[bytes]:
        """Start one line of the Procfile."""
        name = name or line
        commands = dict(row.split(": ", 1) for row in (ROOT / "Procfile").read_text().splitlines() if row.strip())
        self.processes[name] = subprocess.Popen(
            ["/bin/sh", "-c", commands[line]],
            cwd=ROOT,
            env=self.environment | extra,
            stdout=(self.folder / f"{name}.log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        return self.processes[name]

    def url(self, path: str) -> str:
        """An address of the web process."""
        return f"http://127.0.0.1:{self.port}{path}"

    def answers(self) -> bool:
        """Whether the web process is up."""
        try:
            with urllib.request.urlopen(self.url("/healthz"), timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def post(self, path: str, token: str, body: Any) -> tuple[int, Any]:
        """Post JSON with a bearer token; the status and the decoded answer."""
        request = urllib.request.Request(
            self.url(path),
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def kill(self, name: str) -> None:
        """Kill -9 a process and, as whatever started it would, wait for it; what it started itself is not touched."""
        self.processes[name].kill()
        self.processes[name].wait(10)

    def logs(self) -> str:
        """What the processes wrote, for a failure's message."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))

    def stop(self) -> dict[str, int]:
        """Ask all processes to end and return their exit codes; kills what does not end."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        codes = {}
        for name, process in self.processes.items():
            try:
                codes[name] = process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[name] = process.wait(10)
        return codes


@contextmanager
def house(folder: Path) -> Iterator[House]:
    """A migrated house with its servers up and no process of ours started yet."""
    with own_database(folder) as database_url, valkey() as redis_url:
        made = House(folder, database_url, redis_url)
        try:
            yield made
        finally:
            made.stop()

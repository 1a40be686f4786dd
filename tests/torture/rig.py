"""The house and its servers, each killable; and a supervisor that starts again what was killed, as systemd would."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from tests.e2e.house import ROOT, House
from tests.servers import Postgres, Valkey, with_children
from tests.torture.clock import Clock, compiler
from tests.torture.disk import SmallDisk

# systemd's RestartSec is 100 ms by default; with a little mercy for two cores.
RESTART_AFTER = 0.5
PROCESSES = ("web", "worker", "beat")
MAKE_TOKEN = """
from telemetry.models import Source
from telemetry.tokens import issue_token
print(issue_token(Source.objects.create(name="torture")))
"""


class Rig:
    """Everything that runs, in a temporary folder; stop it with `close`."""

    def __init__(self, database: str, *, megabytes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gs-torture-"))
        self.folder.chmod(0o755)
        self.restarts: Counter[str] = Counter()
        self.told: list[str] = []
        self.orphans: list[int] = []
        """What killed processes had started."""
        self._watched: set[str] = set()
        self._over = threading.Event()
        self._supervisor: threading.Thread | None = None
        self.postgres: Postgres | None = None
        self.disk = SmallDisk(self.folder / "disk", megabytes)
        self.valkey = Valkey().start()
        if database == "postgres":
            # A small journal, so that a disk of this size is enough; everything else as a durable server has it.
            small = {"max_wal_size": "64MB", "min_wal_size": "32MB", "restart_after_crash": "on"}
            self.postgres = Postgres(durable=True, data=self.disk.folder / "data", settings=small)
            if os.geteuid() == 0:
                os.chown(self.disk.folder, 65534, 65534)
            self.postgres.start()
            url = self.postgres.url
        else:
            url = f"sqlite:///{self.disk.folder / 'house.sqlite3'}"
        self.house = House(self.folder, url, self.valkey.url)
        command = compiler()
        self.clock = Clock(self.folder, command) if command else None
        if self.clock is not None:
            self.house.environment |= self.clock.environment
        self.house.manage("migrate", "--verbosity=0")
        self.token = self.house.manage("shell", "--no-imports", "-c", MAKE_TOKEN).strip()

    @property
    def database(self) -> str:
        """Which kind."""
        return "postgres" if self.postgres else "sqlite"

    def start(self) -> None:
        """Start the processes and watch over them."""
        for name in PROCESSES:
            self.house.start(name)
            self._watched.add(name)
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()

    def close(self) -> None:
        """Stop everything and forget it."""
        self._over.set()
        if self._supervisor is not None:
            self._supervisor.join(90)
        if self.postgres is not None:
            self.postgres.signal_all(signal.SIGCONT)
        self.house.stop()
        for pid in self.living_orphans():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.valkey.stop()
        if self.postgres is not None:
            self.postgres.stop()
        self.disk.close()
        if self.clock is not None:
            self.clock.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_another(self, line: str) -> str:
        """One more process of the Procfile's line, in a data folder of its own; its name."""
        name = f"{line}-2"
        (self.folder / name).mkdir(exist_ok=True)
        shutil.copy(self.folder / "secret_key", self.folder / name)
        self.house.start(line, name, GS_DATA_DIR=str(self.folder / name))
        self._watched.add(name)
        return name

    def end(self, name: str) -> None:
        """Stop one process for good."""
        self._watched.discard(name)
        process = self.house.processes.pop(name)
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def pids(self, *names: str) -> list[int]:
        """The processes of these names with all that they started (of no name: of all)."""
        return [pid for name in names or self.house.processes for pid in with_children(self.house.processes[name].pid)]

    def database_pids(self) -> list[int]:
        """Who writes the database's files."""
        return self.postgres.pids() if self.postgres is not None else self.pids()

    def kill_database(self) -> None:
        """Kill -9 PostgreSQL with all its backends; the supervisor starts it again at once."""
        assert self.postgres is not None
        self.postgres.kill()

    def living_orphans(self) -> list[int]:
        """Of what killed processes had started, that which still runs."""
        return [pid for pid in self.orphans if _runs(pid)]

    def _supervise(self) -> None:
        while not self._over.wait(0.1):
            if self.postgres is not None and not self.postgres.is_running:
                self._restart_postgres()
            for name in tuple(self._watched):
                process = self.house.processes.get(name)
                if process is None or process.poll() is None or self._over.wait(RESTART_AFTER):
                    continue
                if name in self._watched:
                    self.restarts[name] += 1
                    self.house.start(name.removesuffix("-2"), name, **self._own_folder(name))

    def _own_folder(self, name: str) -> dict[str, str]:
        return {"GS_DATA_DIR": str(self.folder / name)} if name.endswith("-2") else {}

    def _restart_postgres(self) -> None:
        assert self.postgres is not None
        self.restarts["postgres"] += 1
        try:
            self.postgres.start()
        except RuntimeError as error:
            # With a full disk it ends again while it recovers; the next look tries once more.
            self.told.append(str(error)[-300:])
            self._over.wait(1)

    # --- what the database says, without asking our own code ---------------------------------------------------

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a plain query; raises the driver's error."""
        if self.postgres is not None:
            with psycopg.connect(self.postgres.url, connect_timeout=5, autocommit=True) as connection:
                return connection.execute(sql).fetchall()
        connection = sqlite3.connect(self.disk.folder / "house.sqlite3", timeout=30)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def runs(self, task: str = "poll changed senders") -> int:
        """How often a periodic task had its turn and finished without an error; -1 while the database is away."""
        with suppress(psycopg.Error, sqlite3.Error):
            rows = self.query(f"SELECT runs - failures FROM telemetry_lease WHERE name = '{task}'")
            return int(rows[0][0]) if rows else 0
        return -1

    def stored(self) -> Counter[str]:
        """How many raw rows each event id has."""
        rows = self.query("SELECT event_id, count(*) FROM telemetry_sendingevent GROUP BY event_id")
        return Counter(dict(rows))

    def verify_counters(self) -> dict[str, Any]:
        """What `manage.py verify_counters --json` says."""
        command = [sys.executable, "manage.py", "verify_counters", "--json"]
        done = subprocess.run(
            command, cwd=ROOT, env=self.house.environment, check=False, capture_output=True, text=True
        )
        if done.returncode not in (0, 1):
            raise AssertionError(f"verify_counters ended with {done.returncode}: {done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def set_clock(self, ahead: timedelta) -> None:
        """Set the time of day of all processes of ours."""
        assert self.clock is not None
        self.clock.set(ahead)


def _runs(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pause(seconds: float) -> None:
    """Let the load run on for a while: an outage has to last."""
    time.sleep(seconds)

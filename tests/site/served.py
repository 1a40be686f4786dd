"""A real `manage.py serve` in a folder of its own, for tests that start and stop it."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reputation_site.leash import leashed
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
WEBHOOK = "/api/webhooks/stalwart/delivery-failure"


def until(condition: Callable[[], Any], *, within: float, what: str) -> Any:
    """Ask again and again until the answer is true; fail with what was waited for."""
    deadline = time.monotonic() + within
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {within} s"
        time.sleep(0.02)
    return answer


def environment(folder: Path, port: int, **variables: str) -> dict[str, str]:
    """This process's environment without the test run's own settings."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("GS_", "PYTEST_"))}
    for name in ("DATABASE_URL", "REDIS_URL"):
        ours.pop(name, None)
    postfix = {name: f"127.0.0.1:{free_port()}" for name in ("GS_POLICYD_LISTEN", "GS_SOCKETMAP_LISTEN")}
    quiet = {"GS_PERMIT_MX_LOOKUPS": "off", "GS_DNS_SERVERS": "127.0.0.1:9"}  # nobody asks the world's name servers
    return {**ours, **postfix, **quiet, "GS_DATA_DIR": str(folder), "GS_PORT": str(port), **variables}


def processes_of(folder: Path) -> dict[int, str]:
    """Command lines of the living processes that were started for this data folder, by process id."""
    found = {}
    mark = f"GS_DATA_DIR={folder}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            # Valkey writes its title over its environment, but names its socket in it.
            if mark in (entry / "environ").read_bytes().split(b"\0") or f"{folder}/broker.sock" in command:
                found[int(entry.name)] = command
        except (OSError, ProcessLookupError):
            continue
    return found


class Served:
    """One `serve`, its output, and requests to it."""

    def __init__(self, folder: Path, *, port: int | None = None, arguments: tuple[str, ...] = ("serve",), **env: str):
        self.folder = folder
        self.port = port or free_port()
        self.output = ""
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            # A test run that is killed half way shall leave nothing running either.
            leashed([sys.executable, str(ROOT / "manage.py"), *arguments], signal.SIGTERM),
            env=environment(folder, self.port, **env),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line

    def wait_until_welcome(self) -> Served:
        """Wait for the printed next step."""

        def welcomed() -> bool:
            assert self.process.poll() is None, self.output
            return "Next step" in self.output and self.output.count(WEBHOOK) > 0 and "-d '" in self.output

        until(welcomed, within=60, what="the welcome")
        return self

    @property
    def token(self) -> str:
        """The token that was printed."""
        return re.search(r"gs_[a-z0-9]{12}_[\w-]{43}", self.output)[0]

    def printed_request(self) -> tuple[str, dict[str, str], str]:
        """URL, headers and body of the printed curl command."""
        command = self.output[self.output.index("curl http") :].replace("\\\n", " ")
        words = shlex.split(command[: command.index("\n")])
        headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
        return words[1], headers, words[words.index("-d") + 1]

    def request(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, bytes]:
        """Send a request; the status and the body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def ended(self, within: float = 60) -> int:
        """Wait for the end; the exit code."""
        code = self.process.wait(within)
        self._reader.join(5)
        return code

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def clean_up(self) -> None:
        """Leave nothing behind, whatever the test did."""
        for pid in processes_of(self.folder):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(10)


def failure(event_id: str, *, ip: str = "192.0.2.10", at: str) -> str:
    """A body of one documented failure event."""
    data = {"ip": ip, "recipient": "someone@gmail.com", "smtp_code": 550, "enhanced_code": "5.7.1", "reason": "no"}
    return json.dumps({"events": [{"id": event_id, "createdAt": at, "type": "smtp.delivery.failure", "data": data}]})

"""The image and compose.yaml, linted, and run process by process without a container engine."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from honcho.environ import parse_procfile

from reputation_site import settings
from reputation_site.beat import alive_file
from reputation_site.management.commands.serve import STOP_WITHIN
from tests.servers import Postgres, free_port, valkey
from tests.site.image import ROOT, Image, Running, build, dockerfile, give, run, sent_to_the_engine
from tests.site.served import until

pytestmark = pytest.mark.one_database
PROCESSES = ("web", "worker", "beat", "policyd")
PROCFILE = parse_procfile((ROOT / "Procfile").read_text()).processes
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    folder = Path(tempfile.mkdtemp(prefix="gs-image-"))
    folder.chmod(0o755)
    yield build(folder)
    shutil.rmtree(folder, ignore_errors=True)


def example_env() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([sm])", text).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def interpolated(text: str) -> str:
    """Compose's ${NAME:-default}, with .env as in the example."""
    known = example_env()
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda found: known.get(found[1]) or found[2], text)


def listening(service: dict[str, Any]) -> list[str]:
    return [interpolated(port) for port in service.get("ports", [])]


# --- what the files say ---


def test_the_dockerfile_and_compose_pass_their_linters() -> None:
    for words in (
        [BIN / "hadolint", "Dockerfile"],
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
    ):
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_runs_without_root_on_a_pinned_python_and_holds_no_build_tools() -> None:
    instructions = dockerfile((ROOT / "Dockerfile").read_text())
    arguments = {one.rest.partition("=")[0]: one.rest.partition("=")[2] for one in instructions if one.word == "ARG"}
    assert re.fullmatch(r"3\.\d+\.\d+", arguments["PYTHON_VERSION"])
    bases = [one.rest.split()[0] for one in instructions if one.word == "FROM"]
    assert set(bases) == {"python:${PYTHON_VERSION}-slim-trixie"}
    assert [one.rest for one in instructions if one.word == "USER"] == ["10001:10001"]
    assert [one.rest for one in instructions if one.word == "STOPSIGNAL"] == ["SIGTERM"]
    runs = " ".join(one.rest for one in instructions if one.word == "RUN")
    assert "--only-binary :all: --require-hashes" in runs
    assert "pip uninstall --yes pip" in runs
    assert not re.search(r"\b(gcc|build-essential|python3-dev|libpq-dev)\b", runs)


def test_the_engine_is_sent_no_secret_no_data_and_no_tests() -> None:
    ignore = (ROOT / ".dockerignore").read_text()
    secret = [".env", "deploy/compose/secrets/secret_key", "data/good-standing.sqlite3", "data-demo/secret_key"]
    other = ["tests/conftest.py", ".git/config", ".venv/bin/python", "docs/running.md", "telemetry/__pycache__/x.pyc"]
    needed = [
        "manage.py",
        "Procfile",
        "requirements.lock",
        "telemetry/data/cause_rules.csv",
        "static/dashboard/icon.svg",
    ]
    assert sent_to_the_engine(secret + other + needed, ignore) == needed


def test_compose_runs_the_lines_of_the_procfile(compose: Any) -> None:
    for name in PROCESSES:
        assert " ".join(compose["services"][name]["command"]) == PROCFILE[name].removeprefix("exec ")
    assert compose["services"]["release"]["command"] == ["sh", "-c", PROCFILE["release"]]


def test_compose_waits_for_each_process_longer_than_it_takes_to_stop(compose: Any) -> None:
    for name in PROCESSES:
        grace = timedelta(seconds=seconds(compose["services"][name]["stop_grace_period"]))
        assert grace > STOP_WITHIN[name], name


def test_compose_publishes_web_and_policyd_on_loopback_and_nothing_else(compose: Any) -> None:
    published = {name: listening(service) for name, service in compose["services"].items() if "ports" in service}
    assert published == {
        "web": ["127.0.0.1:8000:8000"],
        "policyd": ["127.0.0.1:10031:10031", "127.0.0.1:10032:10032"],
    }
    assert compose["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "redis"):
        assert compose["services"][name]["networks"] == ["inside"]


def test_no_secret_stands_in_compose_or_its_environment(compose: Any) -> None:
    for service in compose["services"].values():
        for name in {**service.get("environment", {}), **example_env()}:
            assert name.endswith("_FILE") or not re.search(r"PASSWORD|SECRET|TOKEN|DATABASE_URL", name), name
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/.env" in ignored
    for secret in compose["secrets"].values():
        assert secret["file"].startswith("./deploy/compose/secrets/")
    assert "/deploy/compose/secrets/" in ignored


def test_the_image_brings_the_pg_dump_of_the_server_that_compose_runs(compose: Any) -> None:
    """An older pg_dump refuses a newer server."""
    [client] = re.findall(r"postgresql-client-(\d+)", (ROOT / "Dockerfile").read_text())
    assert compose["services"]["postgres"]["image"].startswith(f"postgres:{client}-")


def test_every_variable_of_the_examples_is_one_that_the_settings_read(compose: Any) -> None:
    """Our processes refuse to start with another one."""
    named = {*dockerfile_environment(), *example_env()}
    for service in compose["services"].values():
        named |= set(service.get("environment", {}))
    units = ROOT / "deploy/systemd"
    for file in [units / "environment.example", *units.rglob("*.service"), *units.rglob("*.conf")]:
        named |= set(re.findall(r"\b((?:GS_\w+|DATABASE_URL\w*|REDIS_URL\w*))=", file.read_text()))
    ours = {name for name in named if name.startswith(("GS_", "DATABASE_URL", "REDIS_URL"))}
    assert len(ours) > 10
    assert ours <= settings.env._read, ours - settings.env._read


def dockerfile_environment() -> set[str]:
    lines = [one.rest for one in dockerfile((ROOT / "Dockerfile").read_text()) if one.word == "ENV"]
    return {pair.partition("=")[0] for line in lines for pair in shlex.split(line)}


def test_redis_refuses_when_full_instead_of_forgetting_what_was_spent(compose: Any) -> None:
    words = compose["services"]["redis"]["command"]
    assert words[words.index("--maxmemory-policy") + 1] == "noeviction"
    assert words[words.index("--save") + 1] == ""


def test_the_secrets_are_made_once_and_closed_to_others(tmp_path: Path) -> None:
    script = shutil.copy(ROOT / "deploy/compose/make-secrets", tmp_path)
    folder = tmp_path / "secrets"

    def made() -> dict[str, str]:
        subprocess.run([script], check=True, capture_output=True)
        return {file.name: file.read_text().strip() for file in folder.iterdir()}

    first = made()
    assert set(first) == {"secret_key", "postgres_password", "database_url"}
    assert first["database_url"] == f"postgresql://standing:{first['postgres_password']}@postgres:5432/standing"
    assert len(first["secret_key"]) == 64
    assert folder.stat().st_mode & 0o077 == 0
    assert made() == first


# --- and run ---


class Machine:
    """Compose's processes on this machine: its host names stand for loopback, its ports for free ones."""

    def __init__(self, image: Image, compose: Any, postgres: Postgres, redis: str) -> None:
        self.image, self.compose = image, compose
        self.ports = {name: free_port() for name in ("8000", "10031", "10032")}
        self.redis = redis
        secrets = image.folder / "run/secrets"
        secrets.mkdir(parents=True)
        made = image.folder / "made"
        made.mkdir()
        subprocess.run([shutil.copy(ROOT / "deploy/compose/make-secrets", made)], check=True, capture_output=True)
        for file in (made / "secrets").iterdir():
            # A server that trusts loopback has another address and user, and no database of that name.
            text = file.read_text().replace("@postgres:5432/standing", f"@127.0.0.1:{postgres.port}/postgres")
            (secrets / file.name).write_text(re.sub(r"//standing:", "//postgres:", text))
        self.started: dict[str, Running] = {}

    def environment(self, name: str) -> dict[str, str]:
        service = self.compose["services"][name]
        assert service["env_file"] == ".env"
        data = give(self.image.folder / "data" / name)
        give(self.image.folder / "metrics")
        variables = {**self.image.environment, **example_env(), **service["environment"]}
        variables = {key: self.image.inside(value) for key, value in variables.items()}
        assert variables["GS_DATA_DIR"] == str(self.image.folder / "data")
        assert variables["REDIS_URL"] == "redis://redis:6379/0"
        for key in ("GS_POLICYD_LISTEN", "GS_SOCKETMAP_LISTEN"):
            host, _, port = variables[key].rpartition(":")
            variables[key] = f"{host}:{self.ports[port]}"
        return {
            **variables,
            "REDIS_URL": self.redis,
            "GS_PORT": str(self.ports["8000"]),
            "GS_DATA_DIR": str(data),
            "GS_DNS_SERVERS": "127.0.0.1:9",
        }

    def command(self, words: list[str]) -> list[str]:
        """With the program where the image's PATH has it."""
        program = shutil.which(words[0], path=self.image.environment["PATH"])
        assert program is not None, words
        return [program, *(self.image.inside(word) for word in words[1:])]

    def up(self, name: str) -> Running:
        log = self.image.folder / f"{name}.log"
        command = self.command(self.compose["services"][name]["command"])
        self.started[name] = Running(self.image, command, self.environment(name), log)
        return self.started[name]

    def healthy(self, name: str) -> bool:
        """The health check of that service, run beside it."""
        test = self.compose["services"][name].get("healthcheck", {}).get("test", ["CMD", *self.image.health])
        assert test[0] == "CMD"
        return run(self.command(test[1:]), self.image, self.environment(name), within=30)[0] == 0

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["8000"], timeout=30)
        headers = {"Host": "standing.example.com", "X-Forwarded-Proto": "https"}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def ready(self) -> dict[str, Any]:
        status, answer = self.get("/readyz")
        return {"code": status, **json.loads(answer)}


@pytest.fixture(scope="module")
def machine(image: Image, compose: Any) -> Iterator[Machine]:
    server = Postgres()
    with valkey() as redis:
        made = Machine(image, compose, server.start(), redis)
        yield made
        for one in made.started.values():
            one.clean_up()
    server.stop()


def test_only_an_engine_can_do_the_rest_of_the_dockerfile(image: Image) -> None:
    assert [words.split()[0] for words in image.not_replayed] == ["apt-get", "groupadd"]
    assert image.user == "10001:10001"


def test_the_user_of_the_image_may_read_what_it_holds(image: Image) -> None:
    files = list(image.app.rglob("*"))
    assert len(files) > 500
    assert not [file for file in files if not file.stat().st_mode & (0o005 if file.is_dir() else 0o004)]
    assert image.app.stat().st_mode & 0o005 == 0o005
    # Compiled, because that user cannot do it later.
    assert (image.app / "telemetry/__pycache__").is_dir()


@pytest.mark.slow
def test_every_process_of_compose_comes_up_does_its_work_and_stops_cleanly(machine: Machine, image: Image) -> None:
    assert not machine.healthy("web")
    code, said = run(
        machine.command(machine.compose["services"]["release"]["command"]), image, machine.environment("release")
    )
    assert code == 0, said
    for name in PROCESSES:
        machine.up(name)

    def all_healthy() -> bool:
        for name, one in machine.started.items():
            assert one.process.poll() is None, f"{name} ended: {one.output}"
        return all(machine.healthy(name) for name in PROCESSES)

    until(all_healthy, within=90, what="four health checks that pass")
    until(lambda: machine.ready()["status"] == "ready", within=60, what="a task that beat sent and the worker finished")
    assert machine.ready() == {"code": 200, "status": "ready", "reasons": []}

    # Pages and what they fetch, of ours and of the packages.
    status, page = machine.get("/admin/login/")
    assert status == 200
    fetched = set(re.findall(r'(?:href|src)="(/static/[^"?]+)', page.decode()))
    assert {"/static/dashboard/frame.css", "/static/unfold/css/styles.css"} <= fetched
    assert {machine.get(path)[0] for path in fetched} == {200}
    assert machine.get("/api/schema")[0] in (200, 401, 403)

    question = b"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=a@good.example\nrecipient=b@gmail.com\n\n"
    with socket.create_connection(("127.0.0.1", machine.ports["10031"]), timeout=10) as postfix:
        postfix.sendall(question)
        assert postfix.recv(1024) == b"action=DUNNO\n\n"

    code, said = run(machine.command(["python", "manage.py", "bootstrap"]), image, machine.environment("web"))
    assert code == 0, said
    assert "Admin admin, password" in said

    # Nobody but root may write to what the image holds, and the processes are not root.
    if os.geteuid() == 0:
        code, said = run(machine.command(["sh", "-c", "touch x"]), image, machine.environment("web"))
        assert code != 0
        assert "Permission denied" in said

    for name in PROCESSES:
        grace = seconds(machine.compose["services"][name]["stop_grace_period"])
        assert machine.started[name].stop(grace) == 0, f"{name}: {machine.started[name].output}"
        if name == "beat":
            # It leaves a sign of life behind, and that one grows old.
            os.utime(alive_file(str(image.folder / "data/beat/beat-schedule")), (0, 0))
        assert not machine.healthy(name), f"the health check of {name} passes without it"


@pytest.mark.slow
def test_the_image_as_it_is_is_the_whole_product_in_one_process(image: Image) -> None:
    data = give(image.folder / "whole")
    port = free_port()
    ours = {"GS_DATA_DIR": str(data), "GS_PORT": str(port), "GS_DNS_SERVERS": "127.0.0.1:9"}
    # Behind a TLS proxy, where plain requests would be sent to https.
    ours |= {"GS_HTTPS": "on", "GS_ALLOWED_HOSTS": "standing.example.com"}
    ours |= {"GS_POLICYD_LISTEN": "off", "GS_SOCKETMAP_LISTEN": "off"}
    environment = {**image.environment, **ours}
    program = shutil.which(image.command[0], path=environment["PATH"])
    assert program is not None
    serve = Running(image, [program, *image.command[1:]], environment, image.folder / "serve.log")
    try:

        def welcomed() -> bool:
            assert serve.process.poll() is None, serve.output
            return "Next step" in serve.output

        until(welcomed, within=60, what="the welcome")
        assert run([program, *image.health[1:]], image, environment)[0] == 0
        # Who asks past the proxy is answered, except with what is for people.
        assert plainly(port, "/healthz") == 200
        assert plainly(port, "/readyz") == 200
        assert plainly(port, "/metrics") != 301
        assert plainly(port, "/admin/login/") == 301
        assert serve.stop(90) == 0, serve.output
        assert run([program, *image.health[1:]], image, environment)[0] != 0
    finally:
        serve.clean_up()


def plainly(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Host": "standing.example.com"})
    return connection.getresponse().status

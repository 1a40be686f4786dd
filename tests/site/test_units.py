"""The systemd units and the TLS proxy's example: checked by systemd and nginx, and run together as processes."""

from __future__ import annotations

import re
import shlex
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings
from honcho.environ import parse_procfile

from reputation_site.management.commands.serve import STOP_WITHIN
from tests.servers import Postgres, free_port, valkey
from tests.site.image import ROOT, USER, Image, Running, as_its_user, build, give, run
from tests.site.served import WEBHOOK, failure, until
from tests.site.units import FOLDER, unit

pytestmark = pytest.mark.one_database
PROCFILE = parse_procfile((ROOT / "Procfile").read_text()).processes
PYTHON = "/opt/good-standing/.venv/bin/python"
SERVICES = {
    "web": "good-standing-web@8000.service",
    "worker": "good-standing-worker@1.service",
    "beat": "good-standing-beat.service",
    "policyd": "good-standing-policyd.service",
}
ALL = [*SERVICES.values(), "good-standing-release.service", "good-standing.service"]
# systemd's own scale, 0 to 10: below 2 it says "OK", a service without any of it has 9.6.
MOST_EXPOSED = 2.0
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
SYSTEMD = shutil.which("systemd-analyze")


# --- what the files say ---


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A file system as it would be where the units are installed, for systemd's own checks."""
    folder = Path(tempfile.mkdtemp(prefix="gs-units-"))
    installed = folder / "etc/systemd/system"
    shutil.copytree(FOLDER, installed)
    shutil.copytree(
        "/usr/lib/systemd/system",
        folder / "usr/lib/systemd/system",
        ignore=lambda where, names: [name for name in names if not name.endswith((".target", ".slice"))],
    )
    for program in (PYTHON, "/bin/sh"):
        place = folder / program.lstrip("/")
        place.parent.mkdir(parents=True)
        place.write_text("#!/bin/sh\n")
        place.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(SYSTEMD is None, reason="systemd is not installed (make setup-dev)")
@pytest.mark.parametrize("name", [*ALL, "good-standing.target"])
def test_systemd_finds_no_fault_in_a_unit(root: Path, name: str) -> None:
    words = ["verify", "--man=no", "--recursive-errors=no", f"--root={root}", name]
    done = subprocess.run([str(SYSTEMD), *words], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(SYSTEMD is None, reason="systemd is not installed (make setup-dev)")
@pytest.mark.parametrize("name", ALL)
def test_a_unit_gives_its_process_little_of_the_machine(root: Path, name: str) -> None:
    words = ["security", "--offline=true", f"--root={root}", "--no-pager", name]
    done = subprocess.run([str(SYSTEMD), *words], cwd=root, capture_output=True, text=True, check=False)
    [exposure] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(exposure) < MOST_EXPOSED, done.stdout


def test_units_run_the_lines_of_the_procfile() -> None:
    for name, service in SERVICES.items():
        [command] = unit(service).all("ExecStart")
        procfile = PROCFILE[name].removeprefix("exec ").replace("python", PYTHON, 1)
        # A worker is called by its instance, because several on one machine must not share a name.
        assert command.removesuffix(" --hostname=1@host") == procfile
    release = [
        f"python {line.removeprefix(PYTHON).strip()}" for line in unit("good-standing-release.service").all("ExecStart")
    ]
    assert " && ".join(release) == PROCFILE["release"]
    assert unit("good-standing.service").all("ExecStart") == [f"{PYTHON} manage.py serve"]


def test_systemd_waits_longer_than_a_process_takes_to_stop() -> None:
    for name, service in SERVICES.items():
        assert int(unit(service).last("TimeoutStopSec")) > STOP_WITHIN[name].total_seconds(), name
    whole = sum(within.total_seconds() for within in STOP_WITHIN.values())
    assert int(unit("good-standing.service").last("TimeoutStopSec")) > whole


def test_a_service_may_write_to_its_own_folder_and_nowhere_else() -> None:
    for service in ALL:
        one = unit(service)
        assert one.last("ProtectSystem") == "strict"
        own, *shared = one.last("StateDirectory").split()
        assert one.environment()["GS_DATA_DIR"] == f"/var/lib/{own}"
        assert [f"/var/lib/{folder}" for folder in shared] == [
            folder for name, folder in one.environment().items() if name == "GS_METRICS_DIR"
        ]
        assert one.last("StateDirectoryMode") == "0700"
        assert one.last("User") == "good-standing"
        assert not one.all("ReadWritePaths")
    folders = [
        unit(service).last("StateDirectory").split()[0]
        for service in [*SERVICES.values(), "good-standing-web@8001.service"]
    ]
    assert len(set(folders)) == len(folders)


def example_environment() -> dict[str, str]:
    lines = (FOLDER / "environment.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_no_secret_stands_in_a_unit_or_its_environment() -> None:
    for service in ALL:
        names = {**unit(service).environment(), **example_environment()}
        assert not [name for name in names if re.search(r"SECRET|DATABASE_URL", name) and not name.endswith("_FILE")]


def test_the_proxies_let_bodies_pass_that_we_take() -> None:
    most = settings.MAX_BODY_BYTES
    assert f"client_max_body_size    {most // 1024**2}m;" in (ROOT / "deploy/nginx/good-standing.conf").read_text()
    assert f"max_size {most // 1024**2}MiB" in (ROOT / "deploy/caddy/Caddyfile").read_text()
    assert most % 1024**2 == 0


# --- and run ---


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    folder = Path(tempfile.mkdtemp(prefix="gs-installed-"))
    folder.chmod(0o755)
    yield build(folder)
    shutil.rmtree(folder, ignore_errors=True)


class Installed:
    """What the units start, on this machine: their folders lie in one of ours, their ports are free ones."""

    def __init__(self, image: Image, postgres: Postgres, redis: str) -> None:
        self.image = image
        self.ports = {name: free_port() for name in ("8000", "8001", "10031", "10032", "80", "443")}
        self.told = {"REDIS_URL": redis, "GS_DNS_SERVERS": "127.0.0.1:9"}
        self.told["GS_POLICYD_LISTEN"] = f"127.0.0.1:{self.ports['10031']}"
        self.told["GS_SOCKETMAP_LISTEN"] = f"127.0.0.1:{self.ports['10032']}"
        credentials = image.folder / "run/credentials"
        credentials.mkdir(parents=True)
        (credentials / "secret_key").write_text("a key of the tests that is long enough to be one\n")
        (credentials / "database_url").write_text(f"{postgres.url}\n")
        self.started: dict[str, Running] = {}

    def here(self, text: str) -> str:
        """The same text with the units' folders as they are here."""
        for there, place in (
            ("/opt/good-standing/.venv", "opt/venv"),
            ("/opt/good-standing", "app"),
            ("/var/lib/good-standing", "state"),
            ("/run/credentials", "run/credentials"),
        ):
            text = text.replace(there, f"{self.image.folder}/{place}")
        return text

    def environment(self, service: str) -> dict[str, str]:
        one = unit(service)
        assert one.all("EnvironmentFile") == ["/etc/good-standing/environment"]
        variables = {"PATH": "/usr/bin:/bin", **one.environment(), **example_environment(), **self.told}
        variables = {name: self.here(value) for name, value in variables.items()}
        if "GS_PORT" in variables:
            variables["GS_PORT"] = str(self.ports[variables["GS_PORT"]])
        give(Path(variables["GS_DATA_DIR"]))
        if "GS_METRICS_DIR" in variables:
            give(Path(variables["GS_METRICS_DIR"]))
        return variables

    def start(self, service: str) -> Running:
        """ExecStart, and where there is one ExecStartPost to its end."""
        one = unit(service)
        [command] = one.all("ExecStart")
        log = self.image.folder / f"{service}.log"
        environment = self.environment(service)
        self.started[service] = Running(self.image, shlex.split(self.here(command)), environment, log)
        for after in one.all("ExecStartPost"):
            within = float(one.last("TimeoutStartSec"))
            assert run(shlex.split(self.here(after)), self.image, environment, within)[0] == 0
        return self.started[service]

    def stop(self, service: str) -> None:
        """As `systemctl stop` does."""
        one = self.started.pop(service)
        assert one.stop(float(unit(service).last("TimeoutStopSec"))) == 0, one.output

    def run(self, service: str, *words: str) -> str:
        code, said = run([self.here(PYTHON), *words], self.image, self.environment(service))
        assert code == 0, said
        return said


@pytest.fixture(scope="module")
def installed(image: Image) -> Iterator[Installed]:
    server = Postgres()
    with valkey() as redis:
        made = Installed(image, server.start(), redis)
        for line in unit("good-standing-release.service").all("ExecStart"):
            made.run("good-standing-release.service", *shlex.split(line)[1:])
        yield made
        for one in made.started.values():
            one.clean_up()
    server.stop()


def certificate(folder: Path, name: str) -> None:
    """A self-signed one, good for a day on either side of now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name), x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "privkey.pem").write_bytes(private)
    (folder / "fullchain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))


class Proxy:
    """nginx with our example, its ports and files changed to ones of the test."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self.folder, self.ports = folder, ports
        certificate(folder, "standing.example.com")
        text = (ROOT / "deploy/nginx/good-standing.conf").read_text()
        text = text.replace("/etc/letsencrypt/live/standing.example.com", str(folder))
        for port in ("8000", "8001"):
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{ports[port]}")
        for port in ("80", "443"):
            text = re.sub(rf"listen {port}\b", f"listen 127.0.0.1:{ports[port]}", text)
            text = re.sub(rf"    listen \[::\]:{port}\b.*\n", "", text)
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log stderr warn; events {{}}\n"
            f"http {{ access_log off;\n{temporary}{text}\n}}\n"
        )
        self.words = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
        tested = subprocess.run([*self.words, "-t"], capture_output=True, text=True, check=False)
        assert tested.returncode == 0, tested.stderr
        assert "[warn]" not in tested.stderr.replace('the "user" directive', ""), tested.stderr
        self.process = subprocess.Popen(self.words, stderr=(folder / "log").open("wb"))
        self.trust = ssl.create_default_context(cafile=str(folder / "fullchain.pem"))
        self.opener = urllib.request.build_opener(_Stay, urllib.request.HTTPSHandler(context=self.trust))

    def ask(self, path: str, *, scheme: str = "https", data: bytes | None = None, **headers: str) -> Any:
        """(status, headers, body)."""
        port = self.ports["443" if scheme == "https" else "80"]
        request = urllib.request.Request(f"{scheme}://localhost:{port}{path}", data)
        request.add_header("Host", "standing.example.com")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with self.opener.open(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.headers, answer.read()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Show a redirect instead of following it."""


@pytest.mark.slow
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (make setup-dev)")
def test_behind_nginx_no_report_is_refused_while_the_web_processes_are_restarted(installed: Installed) -> None:
    first, second = "good-standing-web@8000.service", "good-standing-web@8001.service"
    installed.start(first)
    installed.start(second)
    made = by_hand(installed, "bootstrap")
    token = re.search(r"gs_[a-z0-9]{12}_[\w-]{43}", made)[0]
    folder = installed.image.folder / "nginx"
    folder.mkdir()
    proxy = Proxy(folder, installed.ports)
    try:
        status, headers, _ = until_answered(proxy, "/healthz", scheme="http")
        assert (status, headers["Location"]) == (301, "https://standing.example.com/healthz")
        status, headers, body = proxy.ask("/healthz")
        assert (status, body) == (200, b"ok\n")
        assert headers["Strict-Transport-Security"] == "max-age=31536000"
        assert proxy.ask("/metrics")[0] == HTTPStatus.NOT_FOUND
        status, headers, _ = proxy.ask("/")
        assert status == HTTPStatus.FOUND, "the console sends us to https although we came by it"
        # What we take passes, and what we do not is refused before it is sent on.
        assert report(proxy, token, "x" * (settings.MAX_BODY_BYTES - 500))[0] == HTTPStatus.BAD_REQUEST
        assert report(proxy, token, "x" * (settings.MAX_BODY_BYTES + 1))[0] == HTTPStatus.REQUEST_ENTITY_TOO_LARGE

        answers: list[tuple[int, bytes]] = []
        done = threading.Event()

        def mail_server() -> None:
            while not done.is_set():
                body = failure(f"rolling-{len(answers)}", at=datetime.now(UTC).isoformat())
                answers.append(report(proxy, token, body))

        sender = threading.Thread(target=mail_server)
        sender.start()
        try:
            for service in (first, second, first):
                installed.stop(service)
                stopped = len(answers)
                until(lambda at=stopped: len(answers) > at + 3, within=60, what="reports while one is away")
                installed.start(service)
        finally:
            done.set()
            sender.join(60)
        assert {status for status, _ in answers} == {HTTPStatus.OK}, (folder / "log").read_text()
        assert len(answers) > 9
        assert all(b'"processed":1' in body.replace(b" ", b"") for _, body in answers), "one was lost or counted twice"
    finally:
        proxy.stop()
    installed.stop(first)
    installed.stop(second)


def by_hand(installed: Installed, *words: str) -> str:
    """deploy/systemd/manage, with its folders as they are here and the user of the image instead of theirs."""
    etc = installed.image.folder / "etc/good-standing"
    etc.mkdir(parents=True)
    told = {**example_environment(), **installed.told}
    (etc / "environment").write_text("".join(f"{name}={value}\n" for name, value in told.items()))
    for secret in ("secret_key", "database_url"):
        shutil.copy(installed.image.folder / "run/credentials" / secret, etc)
    (installed.image.app / ".venv").symlink_to(installed.image.folder / "opt/venv")
    script = installed.here((FOLDER / "manage").read_text().replace("/etc/good-standing", str(etc)))
    script = script.replace("runuser -u good-standing --", shlex.join(["env", *as_its_user()]))
    script = script.replace("-o good-standing -g good-standing", f"-o {USER} -g {USER}" if as_its_user() else "")
    done = subprocess.run(
        ["sh", "-c", script, "manage", *words],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def until_answered(proxy: Proxy, path: str, *, scheme: str) -> Any:
    deadline = time.monotonic() + 20
    while True:
        try:
            return proxy.ask(path, scheme=scheme)
        except urllib.error.URLError:
            assert time.monotonic() < deadline, (proxy.folder / "log").read_text()
            time.sleep(0.05)


def report(proxy: Proxy, token: str, body: str) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}", "Content_Type": "application/json"}
    status, _, answer = proxy.ask(WEBHOOK, data=body.encode(), **headers)
    return status, answer


@pytest.mark.slow
def test_worker_beat_and_policyd_run_by_their_units_and_stop_cleanly(installed: Installed) -> None:
    behind = [SERVICES[name] for name in ("worker", "beat", "policyd")]
    for service in behind:
        installed.start(service)

    def tick() -> bool:
        for service in behind:
            assert installed.started[service].process.poll() is None, installed.started[service].output
        code, _ = run(
            [installed.here(PYTHON), "manage.py", "shell", "-c", LEASES],
            installed.image,
            installed.environment(behind[0]),
        )
        return code == 0

    until(tick, within=90, what="a task that beat sent and the worker finished")
    until(
        lambda: (
            run(
                [installed.here(PYTHON), "-m", "reputation_site.probe", "policyd"],
                installed.image,
                installed.environment(SERVICES["policyd"]),
            )[0]
            == 0
        ),
        within=30,
        what="an answer of policyd",
    )
    for service in behind:
        installed.stop(service)


LEASES = "import sys; from telemetry.models import Lease; sys.exit(not Lease.objects.exclude(last_finished_at=None).exists())"

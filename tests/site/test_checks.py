"""Every mistake in the set-up is found by its check, which says how to mend it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from reputation_site import checks
from tests.site.served import ROOT, environment


def ids(**options: Any) -> set[str]:
    found = [message for message in run_checks(**options) if message.id.startswith("good_standing.")]
    assert all(message.hint for message in found)
    return {message.id for message in found}


def test_the_default_set_up_has_no_findings(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "not-made-yet"
    assert ids(include_deployment_checks=True) == set()


def test_an_open_data_folder_is_warned_of(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    tmp_path.chmod(0o755)
    assert ids() == {"good_standing.W001"}
    tmp_path.chmod(0o700)
    assert ids() == set()


def test_a_data_folder_that_cannot_be_written_is_an_error(settings: Any) -> None:
    settings.DATA_DIR = Path("/proc/self")  # nobody writes there, not even root
    if checks.os.access("/proc/self", checks.os.W_OK):
        settings.DATA_DIR = Path("/dev/null")
    assert "good_standing.E001" in ids() | {m.id for m in checks.data_folder()}


@pytest.mark.parametrize("url", ["amqp://rabbit/", "localhost:6379", "http://redis/"])
def test_a_redis_url_of_another_kind_is_an_error(settings: Any, url: str) -> None:
    settings.REDIS_URL = url
    assert "good_standing.E004" in ids()
    settings.REDIS_URL = "rediss://cache.example/0"
    assert "good_standing.E004" not in ids()


def test_no_broker_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # as on a machine without that wheel
    assert [message.id for message in checks.broker_there()] == ["good_standing.E005"]


@pytest.mark.one_database
def test_several_web_processes_on_sqlite_are_warned_of(settings: Any) -> None:
    settings.WEB_WORKERS = 2
    assert "good_standing.W002" in ids()


def test_listening_to_the_network_without_tls_is_warned_of(settings: Any) -> None:
    settings.LISTEN_HOST = "0.0.0.0"
    assert "good_standing.W003" in ids(include_deployment_checks=True)
    settings.HTTPS = True
    assert "good_standing.W003" not in ids(include_deployment_checks=True)


def test_believing_every_host_header_is_warned_of(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    assert "good_standing.W004" in ids(include_deployment_checks=True)


@pytest.mark.django_db
def test_an_old_postgresql_is_an_error_and_the_servers_we_test_with_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.postgresql_version(databases=["default"]) == []
    if checks.connection.vendor == "postgresql":
        monkeypatch.setattr(checks, "OLDEST_POSTGRESQL", 10**7)
        assert [message.id for message in checks.postgresql_version(databases=["default"])] == ["good_standing.E003"]
        assert checks.postgresql_version(databases=None) == []


def deployed(folder: Path, **variables: str) -> dict[str, str]:
    """The environment that docs/running.md shows for production, with the database of a test run."""
    key = folder / "key"
    key.write_text("0123456789abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFGH")
    https = {"GS_HTTPS": "1", "GS_ALLOWED_HOSTS": "standing.example.com", "GS_SECRET_KEY_FILE": str(key)}
    return {**environment(folder / "data", 8000), "REDIS_URL": "redis://redis.example.com/0", **https, **variables}


def run(code: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *code], env=env, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.one_database
def test_the_documented_production_set_up_has_no_findings(tmp_path: Path) -> None:
    checked = run(["manage.py", "check", "--deploy", "--fail-level", "WARNING"], deployed(tmp_path))
    assert checked.returncode == 0, checked.stderr
    assert "no issues" in checked.stdout
    # And it does look: without TLS there is much to say.
    bare = run(["manage.py", "check", "--deploy", "--fail-level", "WARNING"], deployed(tmp_path, GS_HTTPS="0"))
    assert bare.returncode != 0
    assert "security.W004" in bare.stderr


SHOWN = "from django.conf import settings; print(repr([getattr(settings, name) for name in %r]))"


@pytest.mark.one_database
def test_https_makes_cookies_and_transport_strict(tmp_path: Path) -> None:
    names = ["SESSION_COOKIE_NAME", "CSRF_COOKIE_NAME", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE"]
    more = ["SESSION_COOKIE_SAMESITE", "SESSION_COOKIE_HTTPONLY", "SECURE_HSTS_SECONDS", "SESSION_COOKIE_AGE"]
    told = run(["manage.py", "shell", "-v", "0", "-c", SHOWN % (names + more)], deployed(tmp_path))
    assert told.stdout.strip() == repr(
        ["__Host-sessionid", "__Host-csrftoken", True, True, "Lax", True, 365 * 24 * 3600, 72 * 3600]
    ), told.stderr


@pytest.mark.one_database
def test_every_secret_may_come_from_a_file(tmp_path: Path) -> None:
    """What is a secret is told by the settings file itself: whatever is read by `env.secret`."""
    kept = tmp_path / "kept"
    kept.mkdir()
    values = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/another.sqlite3",
        "REDIS_URL": "redis://:secret@redis.example.com/0",
        "GS_SECRET_KEY": "a key from a file",
        "GS_SECRET_KEY_PREVIOUS": "the key before",
        "GS_OIDC_CLIENT_SECRET": "a client's secret",
        "GS_METRICS_TOKEN": "a token for Prometheus",
    }
    read = {
        line.split('env.secret("')[1].split('"')[0]
        for line in (ROOT / "reputation_site" / "settings.py").read_text().splitlines()
        if 'env.secret("' in line
    }
    assert read - {"GS_REPLICA_URL"} == set(values)  # that one is tried where there is a replica
    env = environment(tmp_path / "data", 8000)
    for name, value in values.items():
        (kept / name).write_text(f"{value}\n")
        env[f"{name}_FILE"] = str(kept / name)
    env |= {"GS_OIDC_ISSUER": "https://id.example.com", "GS_OIDC_CLIENT_ID": "good-standing"}
    names = ["DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SECRET_KEY_FALLBACKS", "OIDC_CLIENT_SECRET", "METRICS_TOKEN"]
    told = run(["manage.py", "shell", "-v", "0", "-c", SHOWN % names], env)
    wanted = [[value] if name.endswith("PREVIOUS") else value for name, value in values.items()]
    assert told.stdout.strip() == repr(wanted), told.stderr


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"GS_REMOTE_USER_HEADER": "X-Remote-User"}, "GS_TRUSTED_PROXIES"),
        ({"GS_REMOTE_USER_HEADER": "X_Remote_User", "GS_TRUSTED_PROXIES": "10.0.0.1"}, "GS_REMOTE_USER_HEADER"),
        ({"GS_OIDC_ISSUER": "https://id.example.com"}, "GS_OIDC_CLIENT_SECRET"),
        ({"GS_OIDC_ROLES": "mail-team=root"}, "GS_OIDC_ROLES"),
    ],
)
def test_half_a_door_stops_the_boot(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    checked = run(["manage.py", "check"], deployed(tmp_path, **variables))
    assert checked.returncode != 0
    assert said in checked.stderr.splitlines()[-1]


@pytest.mark.one_database
def test_all_doors_together_start(tmp_path: Path) -> None:
    every = {
        "GS_REMOTE_USER_HEADER": "X-Remote-User",
        "GS_TRUSTED_PROXIES": "10.0.0.0/8",
        "GS_OIDC_ISSUER": "https://id.example.com",
        "GS_OIDC_CLIENT_ID": "good-standing",
        "GS_OIDC_CLIENT_SECRET": "s",
        "GS_OIDC_ROLES": "cn=mail team=operator, postmasters=admin",
        "GS_REQUIRE_SECOND_FACTOR": "on",
    }
    told = run(
        ["manage.py", "shell", "-v", "0", "-c", SHOWN % ["OIDC_ROLES", "REMOTE_USER_META"]], deployed(tmp_path, **every)
    )
    wanted = [{"cn=mail team": "operator", "postmasters": "admin"}, "HTTP_X_REMOTE_USER"]
    assert told.stdout.strip() == repr(wanted), told.stderr
    assert run(["manage.py", "check"], deployed(tmp_path, **every)).returncode == 0

"""Every mistake in the set-up is found by its check, which says how to mend it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from reputation_site import checks


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

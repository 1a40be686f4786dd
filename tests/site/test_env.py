"""The environment is read strictly: what cannot be read stops the boot and says why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reputation_site.env import ConfigurationError, Env, database_from_url
from tests.site.served import ROOT, environment


def test_a_variable_that_nobody_reads_is_a_typo() -> None:
    env = Env({"GS_PROT": "8001", "HOME": "/home/op"})
    env.integer("GS_PORT", 8000, minimum=1, maximum=65535)
    with pytest.raises(ConfigurationError, match=r"GS_PROT.*Known are: GS_PORT"):
        env.refuse_unknown()


def test_a_variable_that_was_read_is_no_typo() -> None:
    env = Env({"GS_PORT": "8001", "GS_SECRET_KEY_FILE": "/dev/null"})
    assert env.integer("GS_PORT", 8000, minimum=1, maximum=65535) == 8001
    assert env.secret("GS_SECRET_KEY", "default") == ""
    env.refuse_unknown()


@pytest.mark.parametrize("value", ["eighty", "0", "65536", "", "80.5", "1e3"])
def test_a_number_must_be_whole_and_within_bounds(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"GS_PORT=.*from 1 to 65535"):
        Env({"GS_PORT": value}).integer("GS_PORT", 8000, minimum=1, maximum=65535)


@pytest.mark.parametrize(
    ("value", "meaning"), [("1", True), ("Yes", True), ("on", True), ("0", False), ("FALSE", False)]
)
def test_the_words_for_yes_and_no(value: str, meaning: bool) -> None:
    assert Env({"GS_DEBUG": value}).boolean("GS_DEBUG", not meaning) is meaning


@pytest.mark.parametrize("value", ["", "y", "enabled", "2"])
def test_any_other_word_is_no_boolean(value: str) -> None:
    with pytest.raises(ConfigurationError, match="GS_DEBUG"):
        Env({"GS_DEBUG": value}).boolean("GS_DEBUG", False)


def test_a_choice_names_what_is_allowed() -> None:
    with pytest.raises(ConfigurationError, match="text, json"):
        Env({"GS_LOG_FORMAT": "xml"}).choice("GS_LOG_FORMAT", "text", ("text", "json"))


def test_words_lose_blanks_and_empties() -> None:
    assert Env({"GS_ALLOWED_HOSTS": " a.example , ,b.example,"}).words("GS_ALLOWED_HOSTS", []) == [
        "a.example",
        "b.example",
    ]


def test_servers_are_addresses_with_or_without_a_port() -> None:
    env = Env({"GS_DNS_SERVERS": "192.0.2.1, 192.0.2.2:5353, [2001:DB8::1]:54, 2001:db8::2"})
    assert env.servers("GS_DNS_SERVERS", port=53) == (
        ("192.0.2.1", 53),
        ("192.0.2.2", 5353),
        ("2001:db8::1", 54),
        ("2001:db8::2", 53),
    )
    assert Env({}).servers("GS_DNS_SERVERS", port=53) == ()


@pytest.mark.parametrize("value", ["resolver.example", "192.0.2.1:dns", "192.0.2.1:0", "[2001:db8::1]54", "192.0.2.1:"])
def test_a_resolvers_own_name_would_have_to_be_resolved_first(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"GS_DNS_SERVERS=.*expected IP addresses"):
        Env({"GS_DNS_SERVERS": value}).servers("GS_DNS_SERVERS", port=53)


def test_a_secret_comes_from_a_file_without_its_last_newline(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("  s3cret \r\n")
    assert Env({"GS_SECRET_KEY_FILE": str(file)}).secret("GS_SECRET_KEY", "") == "  s3cret "


def test_a_secret_given_twice_or_in_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="both set"):
        Env({"GS_SECRET_KEY": "a", "GS_SECRET_KEY_FILE": "b"}).secret("GS_SECRET_KEY", "")
    with pytest.raises(ConfigurationError, match=r"GS_SECRET_KEY_FILE=.*No such file"):
        Env({"GS_SECRET_KEY_FILE": str(tmp_path / "none")}).secret("GS_SECRET_KEY", "")


def test_a_database_url_is_taken_apart() -> None:
    entry = database_from_url(
        "postgresql://us%40er:pa%2Fss@db.example:5433/standing?sslmode=require",
        sqlite_options={},
        postgres_options={"OPTIONS": {"connect_timeout": 5}},
    )
    assert (entry["USER"], entry["PASSWORD"], entry["HOST"], entry["PORT"]) == ("us@er", "pa/ss", "db.example", "5433")
    assert entry["OPTIONS"] == {"connect_timeout": 5, "sslmode": "require"}


@pytest.mark.parametrize("url", ["mysql://a/b", "standing.sqlite3", "sqlite://", ""])
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        database_from_url(url, sqlite_options={}, postgres_options={})


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("name", "value"),
    [("GS_PROT", "1"), ("GS_PORT", "http"), ("DATABASE_URL", "mysql://a/b"), ("GS_LOG_LEVEL", "LOUD")],
)
def test_a_mistake_stops_the_boot_and_names_the_variable(tmp_path: Path, name: str, value: str) -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "check"],
        env={**environment(tmp_path, 8000), name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert name in run.stderr.splitlines()[-1]

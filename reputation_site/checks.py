"""System checks of the set-up: each has an id and a hint that says the fix. ``manage.py check`` runs them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as Caution
from django.db import connection

from reputation_site import broker

OLDEST_SQLITE = (3, 35, 0)  # RETURNING
OLDEST_POSTGRESQL = 140000
BROKER_SCHEMES = ("redis", "rediss", "unix", "redis+socket", "rediss+socket", "sentinel")


@register
def data_folder(**_: Any) -> list[CheckMessage]:
    """E001: we cannot write to the data folder. W001: others can read it."""
    folder = settings.DATA_DIR
    if not folder.exists():
        return []  # made on first use, closed to others
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return [
            Error(
                f"The data folder {folder} cannot be written by user id {os.geteuid()}.",
                hint=f"Give it to that user (chown {os.geteuid()} {folder}), or name another one in GS_DATA_DIR.",
                id="good_standing.E001",
            )
        ]
    if folder.stat().st_mode & 0o077:
        return [
            Caution(
                f"The data folder {folder} is open to other users; it holds the secret key and recipients' addresses.",
                hint=f"chmod 700 {folder}",
                id="good_standing.W001",
            )
        ]
    return []


@register
def sqlite_version(**_: Any) -> list[CheckMessage]:
    """E002: this Python's SQLite lacks what the ingest transaction needs."""
    if connection.vendor != "sqlite" or sqlite3.sqlite_version_info >= OLDEST_SQLITE:
        return []
    return [
        Error(
            f"This Python brings SQLite {sqlite3.sqlite_version}; 3.35 or newer is needed (INSERT … RETURNING).",
            hint="Use a newer Python, or PostgreSQL by DATABASE_URL=postgresql://user:password@host/name.",
            id="good_standing.E002",
        )
    ]


@register(Tags.database)
def postgresql_version(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """E003: the PostgreSQL server is too old. Asked only where a connection may be made (migrate, check --database)."""
    if not databases or connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        version = int(cursor.fetchone()[0])
    if version >= OLDEST_POSTGRESQL:
        return []
    return [
        Error(
            f"The PostgreSQL server has version number {version}; 14 or newer is needed.",
            hint="Upgrade the server, or point DATABASE_URL at a newer one.",
            id="good_standing.E003",
        )
    ]


@register
def broker_there(**_: Any) -> list[CheckMessage]:
    """E004: REDIS_URL is of no kind we can use. E005: no REDIS_URL and no server in the wheel."""
    if settings.REDIS_URL:
        scheme = urlsplit(settings.REDIS_URL).scheme
        if scheme in BROKER_SCHEMES:
            return []
        return [
            Error(
                f"REDIS_URL has the scheme {scheme!r}, which is no Redis.",
                hint="Use redis://host:6379/0, or rediss:// for TLS; unset it for the embedded broker.",
                id="good_standing.E004",
            )
        ]
    try:
        broker.server_program()
    except broker.BrokerMissingError:
        return [
            Error(
                "There is no embedded broker for this machine and REDIS_URL is not set.",
                hint="Run a Redis or Valkey server and set REDIS_URL=redis://host:6379/0.",
                id="good_standing.E005",
            )
        ]
    return []


@register
def one_writer(**_: Any) -> list[CheckMessage]:
    """W002: several web processes on SQLite stall each other (measured: no gain, waits of 300 ms and more)."""
    if connection.vendor != "sqlite" or settings.WEB_WORKERS == 1:
        return []
    return [
        Caution(
            f"GS_WEB_WORKERS={settings.WEB_WORKERS} with SQLite: writers in several processes wait for each other.",
            hint="Leave GS_WEB_WORKERS at 1, or move to PostgreSQL by DATABASE_URL.",
            id="good_standing.W002",
        )
    ]


@register(Tags.security, deploy=True)
def tokens_in_clear(**_: Any) -> list[CheckMessage]:
    """W003: tokens and passwords travel without TLS over a network."""
    if settings.HTTPS or settings.LISTEN_HOST in ("127.0.0.1", "::1", "localhost"):
        return []
    return [
        Caution(
            f"GS_HOST={settings.LISTEN_HOST} takes requests from the network without TLS: tokens travel in clear.",
            hint="Put a TLS proxy in front that sends X-Forwarded-Proto, and set GS_HTTPS=1.",
            id="good_standing.W003",
        )
    ]


@register(Tags.security, deploy=True)
def any_host(**_: Any) -> list[CheckMessage]:
    """W004: every Host header is believed."""
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Caution(
            "GS_ALLOWED_HOSTS contains *: a forged Host header decides where links in pages point.",
            hint="Name the hosts you serve, for example GS_ALLOWED_HOSTS=standing.example.com.",
            id="good_standing.W004",
        )
    ]

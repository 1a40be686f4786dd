"""One file with everything that cannot be made again: the database as of one moment, and the secret key.

Without the key, stored tokens and sealed secrets are of no use; with it the file is as secret as the data folder.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections

FORMAT = 1
_ABOUT, _KEY = "about.json", "secret_key"
_DATABASE = {"sqlite": "database.sqlite3", "postgresql": "database.dump"}
# Pages copied at a time: between two portions writers have their turn.
_PAGES = 1_000
# Where the tables of a PostgreSQL database wait while a backup is put in their place.
_ASIDE = "before_restore"


class BackupError(Exception):
    """It cannot be done; the sentence says why and what to do."""


def back_up(target: Path, *, now: datetime, replace: bool) -> int:
    """Write the file, whole or not at all, readable by its owner only; its size in bytes. The house may be running.

    Raises BackupError.
    """
    if target.exists() and not replace:
        raise BackupError(f"{target} is there already; name another file, or add --replace.")
    if not target.parent.is_dir():
        raise BackupError(f"There is no folder {target.parent}.")
    kind = connection.vendor
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=target.parent) as folder:
        database = Path(folder) / _DATABASE[kind]
        if kind == "sqlite":
            _copy_sqlite(database)
        else:
            _run(_program("pg_dump"), "--format=custom", "--no-owner", "--no-privileges", f"--file={database}")
        whole = Path(folder) / "whole"
        about = {"format": FORMAT, "kind": kind, "made_at": now.isoformat(timespec="seconds")}
        with _closed_file(whole) as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
            _add(tar, _ABOUT, json.dumps(about).encode())
            _add(tar, _KEY, settings.SECRET_KEY.encode())
            tar.add(database, arcname=_DATABASE[kind])
        size = whole.stat().st_size
        whole.replace(target)
    return size


def restore(source: Path, *, replace: bool) -> dict[str, Any]:
    """Put a backup in the place of the configured database and bring it up to date; what the file says of itself.

    Without `replace` only into a database without tables. The house must not be running. Raises BackupError.
    """
    with tempfile.TemporaryDirectory(prefix="good-standing-") as folder:
        about = _unpack(source, Path(folder))
        kind = about["kind"]
        if kind != connection.vendor:
            raise BackupError(f"This is a backup of {kind}, and DATABASE_URL names {connection.vendor}.")
        if connection.introspection.table_names() and not replace:
            raise BackupError("The database is not empty; add --replace to lose what it holds.")
        key = (Path(folder) / _KEY).read_text(encoding="ascii")
        if key != settings.SECRET_KEY and (os.environ.get("GS_SECRET_KEY") or os.environ.get("GS_SECRET_KEY_FILE")):
            raise BackupError("The backup was made with another secret key than GS_SECRET_KEY: set that one first.")
        connections.close_all()
        database = Path(folder) / _DATABASE[kind]
        if kind == "sqlite":
            _put_sqlite(database)
        else:
            _put_postgresql(database)
        _put_key(key)
        call_command("migrate", verbosity=0, interactive=False)
    return about


def _copy_sqlite(target: Path) -> None:
    connection.ensure_connection()
    with contextlib.closing(sqlite3.connect(target)) as copy:
        connection.connection.backup(copy, pages=_PAGES, sleep=0.01)
        # A file alone, without a log beside it.
        copy.execute("PRAGMA journal_mode = DELETE")


def _put_sqlite(source: Path) -> None:
    target = Path(connection.settings_dict["NAME"])
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with (
            contextlib.closing(sqlite3.connect(source)) as read,
            contextlib.closing(sqlite3.connect(target)) as written,
        ):
            read.backup(written)
    except sqlite3.OperationalError as error:
        raise BackupError(f"The database cannot be replaced ({error}): stop everything that uses it first.") from error
    except sqlite3.DatabaseError as error:
        raise BackupError(f"The backup's database cannot be read ({error}); nothing was changed.") from error


def _put_postgresql(source: Path) -> None:
    """What was there steps aside until the backup is in; when that fails it comes back."""
    program = _program("pg_restore")
    _execute(f"ALTER SCHEMA public RENAME TO {_ASIDE}; CREATE SCHEMA public")
    options = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", "--schema=public")
    try:
        _run(program, *options, f"--dbname={connection.settings_dict['NAME']}", str(source))
    except BaseException:
        _execute(f"DROP SCHEMA public CASCADE; ALTER SCHEMA {_ASIDE} RENAME TO public")
        raise
    _execute(f"DROP SCHEMA {_ASIDE} CASCADE")


def _execute(statements: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements)
    connections.close_all()


def _put_key(key: str) -> None:
    if key == settings.SECRET_KEY:
        return
    # The folder's key belongs to the database that is replaced.
    draft = settings.DATA_DIR / f"{_KEY}.new"
    with _closed_file(draft) as file:
        file.write(key.encode() + b"\n")
    draft.replace(settings.DATA_DIR / _KEY)


def _unpack(source: Path, folder: Path) -> dict[str, Any]:
    try:
        with tarfile.open(source, "r:gz") as tar:
            for name in (_ABOUT, _KEY, *_DATABASE.values()):
                with contextlib.suppress(KeyError):
                    member = tar.extractfile(name)
                    if member is not None:
                        with _closed_file(folder / name) as file:
                            shutil.copyfileobj(member, file)
        about: dict[str, Any] = json.loads((folder / _ABOUT).read_text())
    except FileNotFoundError:
        raise BackupError(f"There is no backup at {source}.") from None
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise BackupError(f"{source} is no whole backup of this product ({type(error).__name__}).") from error
    if about.get("format") != FORMAT or not (folder / _DATABASE.get(about.get("kind", ""), "-")).is_file():
        raise BackupError(f"{source} is no backup that this version can read.")
    return about


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise BackupError(f"{name} is not installed; it comes with PostgreSQL's client programs (postgresql-client).")
    return found


def _run(program: str, *options: str) -> None:
    """Run one of PostgreSQL's programs on the configured database; the password is in no command line."""
    told = connection.settings_dict
    environment = dict(os.environ)
    for name, value in {
        "PGHOST": told["HOST"],
        "PGPORT": told["PORT"],
        "PGUSER": told["USER"],
        "PGPASSWORD": told["PASSWORD"],
        "PGDATABASE": told["NAME"],
        **{f"PG{name.upper()}": value for name, value in told["OPTIONS"].items() if name in ("sslmode", "sslrootcert")},
    }.items():
        if value:
            environment[name] = str(value)
    done = subprocess.run([program, *options], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackupError(f"{Path(program).name} failed: {done.stderr.strip().splitlines()[-1] if done.stderr else ''}")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    tar.addfile(member, io.BytesIO(content))


@contextlib.contextmanager
def _closed_file(path: Path) -> Iterator[Any]:
    """A new file that nobody else may read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        yield file

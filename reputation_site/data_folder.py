"""The embedded default's data folder: what lives there and how it is made safely."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from pathlib import Path

# sun_path of a Unix socket holds 108 bytes on Linux and 104 on macOS, the closing NUL included.
LONGEST_SOCKET_PATH = 100


def kept_secret(folder: Path, name: str) -> str:
    """The secret kept in the folder's file of that name, made on first use, readable by its owner only.

    Two processes that start at once agree: the file is linked into place complete, and whoever comes second reads it.
    """
    path = folder / name
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        pass
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, draft = tempfile.mkstemp(dir=folder)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        Path(draft).unlink()
    return path.read_text(encoding="ascii").strip()


def socket_path(folder: Path, name: str) -> Path:
    """A path for a Unix socket of that data folder: inside it, or in the temporary one if it is too long."""
    inside = folder / name
    if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"good-standing-{os.getuid()}-{digest}-{name}"

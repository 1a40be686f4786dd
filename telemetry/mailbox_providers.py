"""The directory of mailbox providers: shipped as a file, kept in a table that the operator may edit."""

from __future__ import annotations

import time
import tomllib
from functools import lru_cache
from pathlib import Path

from telemetry.domain.mailbox_providers import ProviderDirectory
from telemetry.models import MailboxProvider

DATA = Path(__file__).parent / "data" / "mailbox_providers.toml"
_FIELDS = ("id", "title", "family", "mx_suffixes", "mx_globs", "domains")
# How long a process believes what it read, in seconds; an edit shows within this time everywhere.
BELIEVED = 60.0
_read: tuple[float, ProviderDirectory] | None = None


def directory() -> ProviderDirectory:
    """The directory in force; read from the table at most once a minute per process."""
    global _read  # noqa: PLW0603 - one value per process, replaced as a whole
    now = time.monotonic()
    if _read is None or now - _read[0] >= BELIEVED:
        current = ProviderDirectory.of(MailboxProvider.objects.filter(active=True).order_by("id").values(*_FIELDS))
        if not current.titles:
            current = _shipped()
        if _read is None or current != _read[1]:
            _found.cache_clear()
        else:
            current = _read[1]
        _read = (now, current)
    return _read[1]


def provider_of(mx_host: str, recipient_domain: str) -> str:
    """The mailbox provider's id for this MX host and recipient domain.

    One that is not in the directory is the base domain of its MX host when that serves other domains than its own, else
    "other".
    """
    directory()
    return _found(mx_host, recipient_domain)


def families() -> dict[str, str]:
    """The family of each provider that has one besides itself."""
    return {name: family for name, family in directory().families.items() if family != name}


def forget_cached() -> None:
    """Read the table anew; called when a row is saved or deleted."""
    global _read  # noqa: PLW0603
    _read = None
    _found.cache_clear()


def ensure_providers() -> None:
    """Add shipped providers that the table lacks, leaving what an operator set; runs after every migration."""
    present = set(MailboxProvider.objects.values_list("id", flat=True))
    MailboxProvider.objects.bulk_create(
        [
            MailboxProvider(
                **{name: entry[name] for name in _FIELDS},
                kind=entry["kind"],
                note=entry["note"],
                source=entry["source"],
            )
            for entry in tomllib.loads(DATA.read_text(encoding="utf-8"))["provider"]
            if entry["id"] not in present
        ],
        ignore_conflicts=True,
    )
    forget_cached()


def _shipped() -> ProviderDirectory:
    # An empty table: before the first migration has ended, or in a test that flushed it.
    return ProviderDirectory.from_toml(DATA.read_text(encoding="utf-8"))


@lru_cache(maxsize=50_000)
def _found(mx_host: str, recipient_domain: str) -> str:
    return directory().provider(mx_host, recipient_domain)

"""The directory of mailbox providers that comes with the product, read once per process."""

from functools import cache, lru_cache
from pathlib import Path

from telemetry.domain.mailbox_providers import ProviderDirectory

DATA = Path(__file__).parent / "data" / "mailbox_providers.toml"


@cache
def directory() -> ProviderDirectory:
    """The shipped directory."""
    return ProviderDirectory.from_toml(DATA.read_text(encoding="utf-8"))


@lru_cache(maxsize=50_000)
def provider_of(mx_host: str, recipient_domain: str) -> str:
    """The mailbox provider's id for this MX host and recipient domain; "other" when it is not in the directory."""
    return directory().provider(mx_host, recipient_domain)

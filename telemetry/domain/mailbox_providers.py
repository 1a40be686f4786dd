"""Who runs the mailbox: by the MX host where it is known, else by the recipient's domain.

Providers judge senders separately, so everything is counted by provider. A gateway hides the mailbox behind it and is
its own provider.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

OTHER = "other"


@dataclass(frozen=True)
class ProviderDirectory:
    """Finds the provider of a host or domain; made once from the data file."""

    suffixes: Mapping[str, str]
    globs: tuple[tuple[str, str], ...]
    domains: Mapping[str, str]
    titles: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_toml(cls, text: str) -> ProviderDirectory:
        """Read the data file's text: one ``[[provider]]`` table each with id, mx_suffixes, mx_globs and domains."""
        providers = tomllib.loads(text)["provider"]
        return cls(
            suffixes={suffix: entry["id"] for entry in providers for suffix in entry["mx_suffixes"]},
            globs=tuple((glob, entry["id"]) for entry in providers for glob in entry["mx_globs"]),
            domains={domain: entry["id"] for entry in providers for domain in entry["domains"]},
            titles={entry["id"]: entry["title"] for entry in providers},
        )

    def provider(self, mx_host: str, recipient_domain: str) -> str:
        """The provider's id: longest MX suffix, then MX name or pattern, then recipient domain, else "other"."""
        if mx_host:
            found = self._by_suffix(mx_host)
            if found is None:
                found = next((name for glob, name in self.globs if fnmatchcase(mx_host, glob)), None)
            if found is not None:
                return found
        return self.domains.get(recipient_domain, OTHER)

    def _by_suffix(self, mx_host: str) -> str | None:
        # ".a.b.c" for "x.a.b.c": from the longest suffix to the shortest, so the most exact entry wins.
        at = mx_host.find(".")
        while at != -1:
            found = self.suffixes.get(mx_host[at:])
            if found is not None:
                return found
            at = mx_host.find(".", at + 1)
        return None

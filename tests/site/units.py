"""The systemd units, read as systemd reads them: instances, shared drop-ins, the specifiers that they use."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "deploy/systemd"
SHARED = "good-standing-.service.d/common.conf"


@dataclass
class Unit:
    """One unit with its drop-ins: every setting as (section, name, value), in order."""

    name: str
    settings: list[tuple[str, str, str]]

    def all(self, name: str) -> list[str]:
        """All values of a setting."""
        return [value for _, found, value in self.settings if found == name]

    def last(self, name: str) -> str:
        """The value in force."""
        return self.all(name)[-1]

    def environment(self) -> dict[str, str]:
        """What its Environment= lines say."""
        words = [word for line in self.all("Environment") for word in shlex.split(line)]
        return dict(word.split("=", 1) for word in words)


def unit(name: str) -> Unit:
    """A unit by its full name, such as good-standing-web@8000.service."""
    stem, _, suffix = name.rpartition(".")
    prefix, mark, instance = stem.partition("@")
    texts = [(FOLDER / f"{prefix}{mark}.{suffix}").read_text()]
    if prefix.startswith("good-standing-"):
        texts.append((FOLDER / SHARED).read_text())
    # The credentials' folder and the host's name are the machine's.
    specifiers = {"%N": stem, "%i": instance, "%p": prefix, "%d": "/run/credentials", "%H": "host"}
    settings = []
    for text in texts:
        section = ""
        for line in text.splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and not line.startswith("#"):
                key, _, value = line.partition("=")
                for sign, meaning in specifiers.items():
                    value = value.replace(sign, meaning)
                settings.append((section, key, value))
    return Unit(name, settings)

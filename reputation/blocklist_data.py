"""The facts about blocklists that are shipped: lists with their answers, and zones that are dead."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from reputation.domain.dnsbl import dead_pattern

DATA = Path(__file__).parent / "data" / "blocklists.toml"


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(DATA.read_text(encoding="utf-8"))


def shipped_lists() -> list[dict[str, Any]]:
    """The lists as the file has them."""
    found: list[dict[str, Any]] = _data()["list"]
    return found


def why_dead(zone: str) -> str:
    """What became of a zone that must never be asked; empty for one that is not known to be dead."""
    dead = {entry["pattern"]: entry["why"] for entry in _data()["dead"]}
    pattern = dead_pattern(zone, dead)
    return dead[pattern] if pattern else ""

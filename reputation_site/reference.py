"""The parts of the documentation that are written from the code: settings, default thresholds, the OpenAPI document.

`manage.py reference` writes them, the tests hold the committed files to them.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import global_settings, settings
from django.core.management import call_command

from reputation.domain.policy import CodeTiers, MajorProviders, Policy, Tier, percent
from reputation_site.env import Variable
from reputation_site.setting_words import GROUPS, Words

WRITTEN = "written by make docs"
SETTINGS_HEAD = """# Settings

Every variable of the environment that is read. This page is written from the code by `make docs`.

A name that begins with `GS_` and is not here stops the start: it is a typo. So does a value that cannot be read.
Names marked with * may end in `_FILE` and then name a file that holds the value, such as
`GS_SECRET_KEY_FILE=/run/secrets/key`. Lists are separated by commas. On is `1`, `true`, `yes` or `on`; off is `0`,
`false`, `no` or `off`.
"""
_BOOLEAN = "one of 1, true, yes, on, 0, false, no, off"


class UndescribedError(Exception):
    """A setting has no words, or words have no setting."""


def documents(folder: Path, variables: Mapping[str, Variable]) -> dict[Path, str]:
    """Every file below `folder` that is written in part or as a whole, with what it should hold."""
    standing = folder / "docs/standing.md"
    return {
        folder / "docs/settings.md": settings_page(variables, GROUPS),
        folder / "docs/openapi.yaml": _openapi(),
        standing: _filled(standing.read_text(encoding="utf-8"), standing_tables()),
    }


def settings_page(variables: Mapping[str, Variable], groups: Mapping[str, Mapping[str, Words]]) -> str:
    """The reference of settings. Raises UndescribedError unless every variable has words and all words a variable."""
    described = {name for group in groups.values() for name in group}
    problems = [f"{name} has no words in setting_words.py" for name in variables if name not in described]
    problems += [f"setting_words.py has words for {name}, which nobody reads" for name in described - set(variables)]
    if problems:
        raise UndescribedError("; ".join(sorted(problems)) + ".")
    parts = [SETTINGS_HEAD]
    for title, group in groups.items():
        rows = [_setting(variables[name], words) for name, words in group.items()]
        parts.append(f"\n## {title}\n\n| variable | value | default | meaning |\n|---|---|---|---|\n" + "".join(rows))
    return "".join(parts)


def standing_tables() -> dict[str, str]:
    """The tables of the default thresholds, tiers and major providers, by the name of their place."""
    return {"thresholds": _thresholds(Policy()), "tiers": _tiers(CodeTiers()), "majors": _majors(MajorProviders())}


def _setting(variable: Variable, words: Words) -> str:
    mark = " *" if variable.may_be_file else ""
    kind = "on or off" if variable.kind == _BOOLEAN else variable.kind.removeprefix("one of ")
    return f"| `{variable.name}`{mark} | {kind} | {words.default or _default(variable.default)} | {words.meaning} |\n"


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value) if value != "" else "none"


def _thresholds(policy: Policy) -> str:
    minutes = int(policy.window.total_seconds() // 60)
    rows = [
        (
            "healthy",
            "`minimum_volume`",
            f"fewer than {policy.minimum_volume} sent in the window of {minutes} minutes",
        ),
        (
            "blacklisted",
            "`blacklisted`",
            f"ratio above {percent(policy.blacklisted_ratio_above)}, at least {policy.blacklisted_domains_from}"
            f" recipient domains, at least {policy.blacklisted_majors_from} major providers, and any code tier reached",
        ),
        (
            "quarantine",
            "`quarantine_a`",
            f"ratio above {percent(policy.quarantine_a_ratio_above)}, at least {policy.quarantine_a_majors_from} major"
            " provider, and the tier primary, authentication or infrastructure reached",
        ),
        (
            "quarantine",
            "`quarantine_b`",
            f"ratio above {percent(policy.quarantine_b_ratio_above)} and at least {policy.quarantine_b_domains_from}"
            " recipient domains",
        ),
        ("warning", "`warning_ratio`", f"ratio {percent(policy.warning_ratio_from)} or more"),
        (
            "warning",
            "`warning_temporary`",
            f"more than {policy.warning_temporary_above} temporary refusals (4.x.x) that still stand, and a permanent"
            " one",
        ),
        ("warning", "`warning_refused`", f"{policy.warning_refused_from} or more of 5.7.1"),
        ("healthy", "`healthy`", "otherwise"),
    ]
    return _table(("status", "rule", "when"), rows)


def _tiers(tiers: CodeTiers) -> str:
    codes: dict[Tier, list[str]] = defaultdict(list)
    for code, tier in tiers.tier_of.items():
        codes[tier].append(code)
    rows = [
        (tier.value, str(tiers.minimum.get(tier, "never reached")), ", ".join(found)) for tier, found in codes.items()
    ]
    return _table(("tier", "from", "codes"), rows)


def _majors(majors: MajorProviders) -> str:
    domains: dict[str, list[str]] = defaultdict(list)
    for domain, provider in majors.provider_of.items():
        domains[provider].append(domain)
    return _table(("provider", "domains"), [(provider, ", ".join(found)) for provider, found in domains.items()])


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(cells) + " |\n" for cells in [head, *rows]]
    lines.insert(1, "|" + "---|" * len(head) + "\n")
    return "".join(lines)


def _filled(text: str, tables: Mapping[str, str]) -> str:
    """The text with each marked place filled. Raises ValueError for a table without a place."""
    for name, table in tables.items():
        place = re.compile(rf"(<!-- {name}: {WRITTEN} -->\n\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        text, found = place.subn(lambda match, table=table: match[1] + table + match[2], text)  # type: ignore[misc]
        if found != 1:
            raise ValueError(f"There are {found} places for the table {name}.")
    return text


def _openapi() -> str:
    """The OpenAPI document as YAML, as it is where GS_HTTPS is off."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        call_command("spectacular", file=file.name, validate=True)
        written = Path(file.name).read_text(encoding="utf-8")
    return written.replace(settings.SESSION_COOKIE_NAME, global_settings.SESSION_COOKIE_NAME)

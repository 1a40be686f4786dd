"""What is written from the code is current, and every setting and rule that the documentation names exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from reputation.domain.decision import Rule, decide
from reputation.domain.policy import CodeTiers, MajorProviders, Policy
from reputation.domain.score import score
from reputation_site.env import Env, Variable
from reputation_site.reference import UndescribedError, documents, settings_page
from reputation_site.setting_words import GROUPS, Words
from telemetry.domain.window import IpWindow, Outcomes, RefusalCount
from tests.conftest import NOON
from tests.docs.pages import ROOT, pages

STANDING = (ROOT / "docs/standing.md").read_text(encoding="utf-8")
# Set for programs beside the product, never for it.
NO_SETTING: frozenset[str] = frozenset()
NAME = re.compile(r"\bGS_[A-Z][A-Z0-9_]*")


def variables() -> dict[str, Variable]:
    from reputation_site.settings import env

    return env.described


# The OpenAPI document names the largest number of a column, which is the database's; the committed one is SQLite's.
@pytest.mark.one_database
def test_what_is_written_from_the_code_is_current() -> None:
    for path, text in documents(settings.BASE_DIR, variables()).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.relative_to(ROOT)} is out of date: run make docs"


@pytest.mark.one_database
def test_the_reference_does_not_depend_on_the_machine_it_is_written_on(tmp_path: Path) -> None:
    strange = {"GS_DATA_DIR": str(tmp_path), "GS_PORT": "9000", "GS_LOG_FORMAT": "json", "GS_HTTPS": "on"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GS_", "DATABASE_"))}
    environment |= strange
    command = [sys.executable, "manage.py", "reference", "--check"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_setting_without_words_and_words_without_a_setting_are_refused() -> None:
    env = Env({})
    env.integer("GS_NEW", 1, minimum=0, maximum=2)
    with pytest.raises(UndescribedError, match="GS_NEW has no words"):
        settings_page(env.described, {})
    with pytest.raises(UndescribedError, match="GS_GONE, which nobody reads"):
        settings_page({}, {"Group": {"GS_GONE": Words("Nothing.")}})
    page = settings_page(env.described, {"Group": {"GS_NEW": Words("How new.")}})
    assert "| `GS_NEW` | a whole number from 0 to 2 | 1 | How new. |" in page


def test_every_variable_that_settings_read_is_in_the_reference() -> None:
    code = (ROOT / "reputation_site/settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r"env\.\w+\(\s*\"([A-Z_]+)\"", code))
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert read == set(re.findall(r"^\| `([A-Z_]+)`", page, re.MULTILINE))
    assert read == {name for group in GROUPS.values() for name in group}


def named_settings() -> dict[str, set[str]]:
    """The variables with our prefix that files for people name, by file."""
    folders = [ROOT / name for name in ("deploy", ".github") if (ROOT / name).is_dir()]
    files = [
        *pages(),
        ROOT / "Makefile",
        ROOT / "Procfile",
        *(path for folder in folders for path in folder.rglob("*")),
    ]
    files += [path for name in ("Dockerfile", "compose.yaml", ".env.example") if (path := ROOT / name).exists()]
    return {
        str(path.relative_to(ROOT)): set(NAME.findall(path.read_text(encoding="utf-8", errors="replace")))
        for path in files
        if path.is_file()
    }


def test_every_setting_that_is_named_anywhere_exists() -> None:
    known = set(variables())
    known |= {f"{name}_FILE" for name, variable in variables().items() if variable.may_be_file} | NO_SETTING
    wrong = {file: names - known for file, names in named_settings().items() if names - known}
    assert not wrong


@pytest.mark.one_database
def test_a_stale_reference_is_told_and_written_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/standing.md").write_text(STANDING.replace("fewer than 50 sent", "fewer than 7 sent"))
    monkeypatch.setattr(settings, "BASE_DIR", tmp_path)
    with pytest.raises(CommandError, match=r"standing\.md"):
        call_command("reference", check=True)
    call_command("reference")
    call_command("reference", check=True)
    assert (tmp_path / "docs/standing.md").read_text() == STANDING


# --- the rules of docs/standing.md that are written by hand ----------------------------------------------------------


def judged(**counts: int) -> str:
    """The issue type of a window with these refused attempts; "c5_7_1" stands for 5.7.1."""
    refusals = tuple(RefusalCount(code[1:].replace("_", "."), "example.net", "", "", n) for code, n in counts.items())
    outcomes = Outcomes(delivered=10_000, bounced=sum(counts.values()))
    window = IpWindow("192.0.2.10", NOON, NOON, outcomes, outcomes.sent, refusals)
    return decide(window, Policy(), CodeTiers(), MajorProviders()).issue_type.value


@pytest.mark.parametrize(
    ("row", "most", "code"),
    [
        ("`content_spam_detected` | more than 2 of 5.7.512", 2, "c5_7_512"),
        ("more than 2 of 5.7.606", 2, "c5_7_606"),
        ("`ip_reputation_damage` | more than 5 of 5.7.1", 5, "c5_7_1"),
        ("`authentication_failure` | more than 5 of all codes in the tier authentication", 5, "c5_7_26"),
        ("`infrastructure_misconfiguration` | more than 5 of all codes in the tier infrastructure", 5, "c5_7_25"),
        ("`policy_violation` | more than 10 of 5.7.510", 10, "c5_7_510"),
        ("more than 10 of 4.7.1", 10, "c4_7_1"),
        ("`list_hygiene_issue` | more than 10 of 5.1.1", 10, "c5_1_1"),
    ],
)
def test_the_issue_types_begin_where_the_page_says(row: str, most: int, code: str) -> None:
    (line,) = [line for line in STANDING.splitlines() if row in line]
    name = line.split("`")[1]
    # As many that say nothing stand beside them, so that "mostly temporary" never decides.
    assert judged(**{code: most, "c5_0_0": most}) == "mixed_issues"
    assert judged(**{code: most + 1, "c5_0_0": most + 1}) == name


def test_more_than_half_temporary_is_rate_limiting() -> None:
    assert "| `rate_limiting` | more than half are temporary (4.x.x) |" in STANDING
    assert judged(c4_2_2=5, c5_0_0=5) == "mixed_issues"
    assert judged(c4_2_2=6, c5_0_0=5) == "rate_limiting"


def score_rows() -> list[tuple[str, str, int]]:
    """(rate, threshold in percent or "", points) of the page's table of the score."""
    found, rate = [], ""
    line = re.compile(
        r"^\| (bounce|complaint|delivery|) ?\|[^|]*\| (above ([\d.]+) %|[\d.]+ % or less) \| (\d+) \|", re.M
    )
    for row in line.findall(STANDING):
        rate = row[0] or rate
        found.append((rate, row[2], int(row[3])))
    return found


def lost(rate: str, share: Fraction) -> int:
    """Points that this rate loses by itself where it is exactly this share of 100,000."""
    part = int(share * 100_000)
    outcomes = {
        "bounce": Outcomes(delivered=100_000 - part, bounced=part),
        "delivery": Outcomes(delivered=part, bounced=100_000 - part),
        "complaint": Outcomes(delivered=100_000, complained=part),
    }[rate]
    made = score(outcomes)
    assert made is not None
    return sum(penalty.points for penalty in made.penalties if penalty.reason.startswith(rate))


def test_the_score_loses_points_above_each_threshold_and_not_at_it() -> None:
    rows = score_rows()
    assert [rate for rate, _, _ in rows] == ["bounce"] * 3 + ["complaint"] * 3 + ["delivery"] * 4
    for number, (rate, above, points) in enumerate(rows):
        following = rows[number + 1] if number + 1 < len(rows) else ("", "", 0)
        below = following[2] if following[0] == rate else 0
        threshold = Fraction(above or "80") / 100
        assert lost(rate, threshold + Fraction(1, 100_000) * bool(above)) == points
        if above:
            assert lost(rate, threshold) == below


def test_the_rules_are_named_as_they_are_stored() -> None:
    named = re.findall(r"^\| \w+ \| `(\w+)` \|", STANDING, re.MULTILINE)
    assert set(named) == {
        rule.value for rule in Rule if rule.value != "no_mail" and not rule.value.startswith("unknown")
    }

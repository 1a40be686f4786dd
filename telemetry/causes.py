"""The rules of causes in force: shipped as a file, kept in a table that the operator may edit, compiled per process."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from telemetry.domain.causes import Category, Cause, Confidence, Permanence, Rule, Scope
from telemetry.domain.classifier import Classifier
from telemetry.domain.event import Event
from telemetry.mailbox_providers import families
from telemetry.models import CauseRule, RuleSet

RULES = Path(__file__).parent / "data" / "cause_rules.csv"
CODES = Path(__file__).parent / "data" / "enhanced_codes.csv"
# Between the examples of a rule in the file; in the table each has a line.
_BETWEEN = " ¶ "
# How long a process goes without asking whether the rules changed, in seconds. `telemetry.reclassify` relies on it.
BELIEVED = 10.0
_known: tuple[float, int, Classifier] | None = None


def cause_of(event: Event, provider: str) -> str:
    """The stored cause of a refusal: the category by the rules in force."""
    return classify(provider, event.smtp_code, event.enhanced_code, event.reply).category.value


def classify(provider: str, smtp_code: int | None, enhanced_code: str, reply: str) -> Cause:
    """The cause of a reply with scope, permanence, advice and link, by the rules in force.

    `provider` is the mailbox provider's id or empty; codes that are missing are read from the text.
    """
    return classifier().classify(provider, smtp_code, enhanced_code, reply)


def cause_of_code(code: str) -> str:
    """The category that a code names by itself: "5.7.25", "552"; "unknown" when it names none."""
    smtp_code = int(code) if code.isdigit() else None
    return classify("", smtp_code, "" if smtp_code else code, "").category.value


def classifier() -> Classifier:
    """The compiled rules; looks at most every ten seconds whether there is a newer edition."""
    global _known  # noqa: PLW0603 - one value per process, replaced as a whole
    now = time.monotonic()
    if _known is not None and now - _known[0] < BELIEVED:
        return _known[2]
    # The edition before the rules: rules that change in between are read again at the next look.
    version = RuleSet.objects.filter(pk=1).values_list("version", flat=True).first() or 0
    current = _known[2] if _known is not None and _known[1] == version else _compiled()
    _known = (now, version, current)
    return current


def forget_cached() -> None:
    """Read the rules anew at the next reply."""
    global _known  # noqa: PLW0603
    _known = None


def note_change() -> None:
    """Begin a new edition: every process reads it within ten seconds, and stored refusals are classified anew."""
    RuleSet.objects.get_or_create(pk=1)
    RuleSet.objects.filter(pk=1).update(version=F("version") + 1, changed_at=timezone.now())
    forget_cached()
    # What this process reads before the commit is the old edition to everybody else.
    transaction.on_commit(forget_cached)


def ensure_rules() -> None:
    """Add shipped rules that the table lacks, leaving those that the operator changed; runs after every migration.

    A rule that the operator does not want is made inactive; a deleted one comes back.
    """
    RuleSet.objects.get_or_create(pk=1)
    present = set(CauseRule.objects.values_list("name", flat=True))
    missing = [CauseRule(**entry) for entry in shipped() if entry["name"] not in present]
    if missing:
        CauseRule.objects.bulk_create(missing, ignore_conflicts=True)
        note_change()


def shipped() -> Iterator[dict[str, str]]:
    """The rules of the file as the table's columns."""
    with RULES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row | {"examples": "\n".join(row["examples"].split(_BETWEEN))}


@cache
def registry() -> Mapping[str, Rule]:
    """What a code means by itself: "X.7.25" or "X.7" (RFC 3463 and its registry), "552" (RFC 5321)."""
    with CODES.open(encoding="utf-8", newline="") as file:
        return {
            row["code"]: Rule(
                name=f"code {row['code']}",
                category=Category(row["category"]),
                scope=Scope(row["scope"]),
                confidence=Confidence.LOW,
            )
            for row in csv.DictReader(file)
        }


def compiled_from(rows: Iterable[Mapping[str, str]], family_of: Mapping[str, str]) -> Classifier:
    """A classifier from rules as the table or the file has them, in their order."""
    ordered = sorted(rows, key=lambda row: (int(row["order"]), row["name"]))
    return Classifier(tuple(_rule(row) for row in ordered), registry(), family_of)


def _compiled() -> Classifier:
    rows: list[Mapping[str, str]] = list(CauseRule.objects.filter(active=True).values(*COLUMNS))
    if not rows and not CauseRule.objects.exists():
        rows = list(shipped())
    return compiled_from(rows, families())


COLUMNS = (
    "order name providers reply enhanced text category scope permanence confidence advice link".split()  # noqa: SIM905
)


def _rule(row: Mapping[str, str]) -> Rule:
    return Rule(
        name=row["name"],
        providers=frozenset(family.strip() for family in row["providers"].split(",") if family.strip()),
        reply=row["reply"],
        enhanced=row["enhanced"],
        text=row["text"],
        category=Category(row["category"]),
        scope=Scope(row["scope"]),
        permanence=Permanence(row["permanence"]),
        confidence=Confidence(row["confidence"]),
        advice=row["advice"],
        link=row["link"],
    )

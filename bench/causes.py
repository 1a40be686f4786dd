"""Causes per second and core: remembered, remembered with other ids in each reply, and without memory.

Beside it in the same run the plain way: the shipped rules one after another over the same texts.
"""

from __future__ import annotations

import csv
import json
import os
import random
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
django.setup()

from telemetry.causes import compiled_from, shipped  # noqa: E402
from telemetry.domain.classifier import Classifier  # noqa: E402
from telemetry.domain.reply_text import shape_of, without_codes  # noqa: E402

REPLIES = Path(__file__).parent.parent / "tests" / "data" / "smtp_replies.csv"
ROUNDS = 5
Reply = tuple[str, int | None, str, str]


def published() -> list[str]:
    """The 206 published replies."""
    with REPLIES.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def varied(texts: list[str], times: int, chance: random.Random) -> list[Reply]:
    """The replies as a stream has them: each with an IP, a recipient and a session id of its own."""
    made = []
    for _ in range(times):
        for text in texts:
            ip = ".".join(str(chance.randint(1, 254)) for _ in range(4))
            session = f"{chance.getrandbits(44):x}-{chance.getrandbits(40):x}.{chance.randint(1, 99)}"
            reply = text.replace("x.xx.xx.xx", ip).replace("example@", f"r{chance.randint(1, 10**9)}@")
            made.append(("other", 550, "5.7.1", f"{reply} {session}"))
    return made


def per_second(replies: list[Reply], work: Callable[[str, int | None, str, str], object]) -> float:
    """Replies per second of processor time."""
    start = time.process_time()
    for reply in replies:
        work(*reply)
    return len(replies) / (time.process_time() - start)


def one_after_another(patterns: list[re.Pattern[str]]) -> Callable[[str, int | None, str, str], object]:
    """The plain way."""

    def work(provider: str, smtp_code: int | None, enhanced: str, text: str) -> object:
        words = without_codes(shape_of(text))
        return next((pattern for pattern in patterns if pattern.search(words)), None)

    return work


def main() -> None:
    """Measure in alternating rounds and print the medians as JSON."""
    times = 10 if "--quick" in sys.argv else 100
    rows = list(shipped())
    ours: Classifier = compiled_from(rows, {})
    plain = one_after_another([re.compile(row["text"]) for row in rows if row["text"]])
    texts = published()
    same: list[Reply] = [("other", 550, "5.7.1", text) for text in texts] * times
    found: dict[str, list[float]] = {name: [] for name in ("same", "varied", "cold", "plain")}
    for number in range(ROUNDS):
        stream = varied(texts, times, random.Random(number))
        found["same"].append(per_second(same, ours.classify))
        found["varied"].append(per_second(stream, ours.classify))
        few = stream[: len(stream) // 10]
        found["cold"].append(
            per_second(few, lambda who, code, enhanced, text: ours.judge(who, code, enhanced, shape_of(text)))
        )
        found["plain"].append(per_second(few[: len(few) // 4], plain))
    what = {
        "same": "remembered, same text",
        "varied": "remembered, other IP, address and id in each",
        "cold": "without memory of replies",
        "plain": "plain: rule after rule",
    }
    print(
        json.dumps(
            [
                {
                    "replies": what[name],
                    "replies/s/core": f"{statistics.median(speeds):,.0f}",
                    "spread of rounds": f"{min(speeds):,.0f}–{max(speeds):,.0f}",
                    "times the plain way": f"{statistics.median(speeds) / statistics.median(found['plain']):.0f}",
                }
                for name, speeds in found.items()
            ]
        )
    )


if __name__ == "__main__":
    main()

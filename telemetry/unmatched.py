"""Replies that no rule speaks of, most frequent first: what a new rule would be worth."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.text import slugify

from telemetry import causes
from telemetry.domain.causes import Cause
from telemetry.domain.clean import received_from
from telemetry.domain.reply_text import shape_of, without_codes
from telemetry.models import SendingEvent
from telemetry.reclassify import REFUSED

# Read from the newest backwards; more would let a page wait, and the frequent ones are among these.
MOST_READ = 50_000
MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Unmatched:
    """One wording, with one of the replies that has it."""

    count: int
    provider: str
    code: str
    shape: str
    example: str
    category: str
    """What the bare code makes of it."""


def unmatched_replies(*, now: datetime, days: int = 7) -> list[Unmatched]:
    """Refusals of the last days whose cause is a bare code's or unknown, by provider, code and wording.

    Looks at the newest 50,000 refusals.
    """
    start = now - timedelta(days=days)
    rows = (
        SendingEvent.objects.filter(type__in=REFUSED, occurred_at__gte=start, received_at__gte=received_from(start))
        .order_by("-pk")
        .values_list("provider", "smtp_code", "enhanced_code", "reply")[:MOST_READ]
    )
    counts: Counter[tuple[str, str, str]] = Counter()
    found: dict[tuple[str, str, str], tuple[str, Cause]] = {}
    for provider, smtp_code, enhanced_code, reply in rows.iterator(chunk_size=2_000):
        cause = causes.classify(provider, smtp_code, enhanced_code, reply)
        if cause.rule and not cause.rule.startswith("code "):
            continue
        code = enhanced_code or str(smtp_code or "")
        key = (provider, code, without_codes(shape_of(reply)))
        counts[key] += 1
        found.setdefault(key, (reply, cause))
    return [
        Unmatched(count, *key, example=found[key][0], category=found[key][1].category.value)
        for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_SHOWN]
    ]


def draft_of(provider: str, reply: str) -> dict[str, Any]:
    """The beginning of a rule for this reply: a pattern for its first words, and the reply as its example."""
    words = without_codes(shape_of(reply))
    # From the longest stretch without blanked parts: that is what other replies of the kind have too.
    stretch = max(re.split(r"[#@<>\[\]()]+", words), key=len).strip(" .,:;-")[:80]
    name = slugify(f"{provider} {stretch}")[:50].strip("-") or "rule"
    example = " ".join(reply.split())[:1_000]
    return {"name": name, "text": re.escape(stretch).replace("\\ ", " "), "examples": example, "title": stretch[:200]}

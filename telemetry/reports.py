"""Reports that come as mails: record what they say, keep what is no report for a look."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.conf import settings
from django.db import transaction
from django.db.models import F

from telemetry import metrics
from telemetry.domain.clean import text
from telemetry.domain.vocab import RecipientPrivacy
from telemetry.ingest import record_batch
from telemetry.models import Source, UnknownReport
from telemetry.parsers.mail_parts import normalised
from telemetry.parsers.report_mail import Kind, Reading, read_mail

log = logging.getLogger(__name__)

# Of a mail that is no report this much is kept: its header and the first page of its text.
LONGEST_KEPT = 32 * 1024
_LOCAL_PART = re.compile(r"[^\s<>@,;:\"()\[\]=]{1,64}@")


class Outcome(StrEnum):
    """What became of a mail."""

    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    """The same report was taken before; nothing was counted again."""
    IGNORED = "ignored"
    """A report, but of nothing that counts: a delivery, a "not spam"."""
    KEPT = "kept"
    """Not readable as a report; it waits in the admin for a look."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a mail, and how many events it held."""

    outcome: Outcome
    kind: Kind
    recorded: int = 0
    duplicates: int = 0
    why: str = ""


def take_in(source: Source, raw: bytes, *, now: datetime) -> Taken:
    """Take one mail (RFC 5322, any bytes). Once it is taken, handing it in again changes no counter.

    Never raises over what the mail holds; raises the database's errors, and then nothing was stored.
    """
    return record(source, raw, read_mail(raw, now, source.ip_map), now=now)


def record(source: Source, raw: bytes, reading: Reading, *, now: datetime) -> Taken:
    """Store what was read from a mail. Raises the database's errors."""
    if reading.kind is Kind.NO_REPORT:
        _keep(source, raw, reading, now)
        return Taken(Outcome.KEPT, reading.kind, why=reading.why)
    if not reading.events:
        return Taken(Outcome.IGNORED, reading.kind, why=reading.why)
    result = record_batch(source, reading.events, now=now)
    outcome = Outcome.RECORDED if result.recorded else Outcome.DUPLICATE
    return Taken(outcome, reading.kind, result.recorded, result.duplicates)


def _keep(source: Source, raw: bytes, reading: Reading, now: datetime) -> None:
    lines = normalised(raw)
    header = reading.header
    said = {name: _kept_text(header.first(name)) if header else "" for name in ("from", "subject", "content-type")}
    row = UnknownReport(
        source=source,
        digest=hashlib.sha256(lines).hexdigest(),
        why=text(reading.why, longest=200),
        sender=said["from"][:400],
        subject=said["subject"][:400],
        content_type=said["content-type"].partition(";")[0].strip()[:100],
        message_id=text(header.first("message-id"), longest=512) if header else "",
        raw=_kept_text(lines[:LONGEST_KEPT].decode("utf-8", "replace")),
        size=len(raw),
        times=0,
        received_at=now,
        last_received_at=now,
    )
    with transaction.atomic():
        UnknownReport.objects.bulk_create([row], ignore_conflicts=True)
        UnknownReport.objects.filter(source=source, digest=row.digest).update(
            times=F("times") + 1, last_received_at=now
        )
        transaction.on_commit(lambda: metrics.count_rejected(source.kind, 1))
    log.info("a mail that is no report was kept", extra={"source": source.name, "why": row.why, "bytes": row.size})


def _kept_text(value: str) -> str:
    """Text for the table; the local parts of addresses only where the operator keeps recipients in full."""
    if settings.RECIPIENTS_OF_FAILURES != RecipientPrivacy.FULL:
        value = _LOCAL_PART.sub("[hidden]@", value)
    return text(value, longest=LONGEST_KEPT)

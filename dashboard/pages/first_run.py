"""What an empty installation shows: three steps, each of which ticks itself, and nothing blank."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse
from django.utils.http import urlencode

from dashboard.pages.setup import Step, steps
from dashboard.queries import TEST_MARK
from telemetry.domain.vocab import SourceKind
from telemetry.models import SendingEvent, Source

# What people run, in the order of the README; the kinds of source in their words.
_KINDS = (
    (SourceKind.POSTFIX, "Postfix"),
    (SourceKind.STALWART, "Stalwart"),
    (SourceKind.KUMOMTA, "KumoMTA"),
    (SourceKind.POWERMTA, "PowerMTA"),
    (SourceKind.ESP, "an ESP (SendGrid, Mailgun, Amazon SES …)"),
    (SourceKind.REPORT_MAIL, "complaints and bounces by mail"),
    (SourceKind.DOCUMENTED, "the plain webhook"),
    (SourceKind.GENERIC, "anything else (JSON)"),
)


@dataclass(frozen=True, slots=True)
class KindLink:
    """Where one kind of source is connected."""

    title: str
    source: str
    """The source of this kind that there is; empty: there is none yet."""
    add_url: str
    """The form that adds one."""


@dataclass(frozen=True, slots=True)
class TestEvent:
    """The newest test event."""

    at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class FirstRun:
    """The three steps."""

    kinds: tuple[KindLink, ...]
    sources: tuple[str, ...]
    test_source: str
    """Whose test event the button sends; empty where there is no active source."""
    command: Step | None
    """The line that reports a refused message from outside."""
    command_source: str
    test: TestEvent | None

    @property
    def is_connected(self) -> bool:
        """Step one."""
        return bool(self.sources)


def first_run(base_url: str, *, now: datetime) -> FirstRun:
    """How far a newcomer is; a fixed number of queries."""
    rows = list(Source.objects.exclude(kind=SourceKind.SELF_TEST).order_by("created_at", "id")[:50])
    by_kind = {row.kind: row.name for row in reversed(rows)}
    active = [row for row in rows if row.is_active]
    # Only these two take a curl line as it stands.
    posting = next((row for row in active if row.kind in (SourceKind.DOCUMENTED, SourceKind.GENERIC)), None)
    add = reverse("admin:telemetry_source_add")
    test = SendingEvent.objects.filter(classification=TEST_MARK).select_related("source").order_by("-id").first()
    return FirstRun(
        kinds=tuple(
            KindLink(title, by_kind.get(kind, ""), f"{add}?{urlencode({'kind': kind.value})}") for kind, title in _KINDS
        ),
        sources=tuple(row.name for row in rows),
        test_source=active[0].name if active else "",
        command=steps(posting, base_url, now=now)[0] if posting else None,
        command_source=posting.name if posting else "",
        test=TestEvent(test.received_at, test.source.name) if test else None,
    )

"""Say what is misconfigured or runs late, and how to mend it."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.checks import ERROR, run_checks
from django.core.management.base import BaseCommand
from django.utils import timezone

from reputation.dns_lookups import Client, Kind
from reputation.models import Blocklist, SendingPolicy
from reputation_site.readiness import troubles
from telemetry.models import Source

_BAD, _CAUTION, _NOTE = "wrong", "caution", "note"
# What Django says of a site without TLS, in four sentences about settings that one of ours turns on.
_WITHOUT_TLS = frozenset({"security.W004", "security.W008", "security.W012", "security.W016"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    weight: str
    about: str
    says: str
    hint: str = ""


class Command(BaseCommand):
    """Look at the whole installation from here."""

    help = (
        "Looks at settings, database, broker, tasks, disk, DNS, sources and policies from this machine, and says of "
        "everything that is not right how to mend it. Ends with 1 where something is wrong."
    )
    # It must run where a check fails: it reports them itself.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to leave out."""
        parser.add_argument("--no-dns", action="store_true", help="ask no name server")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the findings, the worst first."""
        now = timezone.now()
        found = [*_checks()]
        serving = troubles(now=now)
        found += [
            Finding(_BAD if trouble.stops else _CAUTION, trouble.what, trouble.says, trouble.hint)
            for trouble in serving
        ]
        if not any(trouble.stops for trouble in serving):
            found += _contents()
        if not options["no_dns"]:
            found += _dns()
        for weight in (_BAD, _CAUTION, _NOTE):
            for finding in (finding for finding in found if finding.weight == weight):
                self.stdout.write(f"{weight:8} {finding.about}: {finding.says}")
                if finding.hint:
                    self.stdout.write(f"{'':8} → {finding.hint}")
        wrong = sum(finding.weight == _BAD for finding in found)
        cautions = sum(finding.weight == _CAUTION for finding in found)
        self.stdout.write(f"{wrong} wrong, {cautions} to look at." if wrong or cautions else "Nothing is wrong.")
        if wrong:
            raise SystemExit(1)


def _checks() -> Iterator[Finding]:
    """Django's checks and ours, those for deployment included."""
    messages = [message for message in run_checks(include_deployment_checks=True) if not message.is_silenced()]
    if any(message.id in _WITHOUT_TLS for message in messages):
        yield Finding(
            _NOTE,
            "TLS",
            "Pages are served without TLS, and cookies travel without it.",
            "Right on this machine alone; elsewhere put a TLS proxy in front and set GS_HTTPS=1.",
        )
    for message in messages:
        if message.id not in _WITHOUT_TLS:
            weight = _BAD if message.level >= ERROR else _CAUTION
            yield Finding(weight, str(message.id), " ".join(str(message.msg).split()), str(message.hint or ""))


def _contents() -> Iterator[Finding]:
    """What operators tell this installation, or forgot to."""
    active = Source.objects.filter(is_active=True)
    if not active.exists():
        yield Finding(
            _CAUTION, "sources", "No mail server reports here.", "Make one: manage.py create_source NAME, or the admin."
        )
    for name in active.filter(last_event_at=None).order_by("name").values_list("name", flat=True)[:10]:
        yield Finding(_NOTE, f"source {name}", "Nothing of it has ever arrived.", "Its page says how to connect it.")
    observing = SendingPolicy.objects.filter(mode="observe").order_by("pool__name")
    for pool in observing.values_list("pool__name", flat=True)[:10]:
        yield Finding(
            _NOTE,
            f"pool {pool}",
            "Permits observe: nothing is held back.",
            "Once the record of permits looks right, set its sending policy to warn or enforce.",
        )
    if not Blocklist.objects.filter(is_enabled=True).exists():
        yield Finding(_NOTE, "blocklists", "No blocklist is asked.", "Enable some in the admin under Blocklists.")


def _dns() -> Iterator[Finding]:
    """Whether names can be looked up at all: blocklists, audits and mailbox providers need it."""
    client = Client(timeout=timedelta(seconds=2), retries=1, most_sockets=1)
    answer = asyncio.run(client.ask(".", "NS"))
    if answer.kind is not Kind.ANSWER:
        servers = ", ".join(f"{host} port {port}" for host, port in client.servers) or "none"
        yield Finding(
            _CAUTION,
            "DNS",
            f"The root zone cannot be looked up: {answer.kind} (name servers: {servers}).",
            "Set GS_DNS_SERVERS to a resolver of your own; many blocklists refuse the public ones.",
        )

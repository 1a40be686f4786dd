"""What a KumoMTA's sending IPs may send, as the book of permits has it: caps of probes, warm-ups, limits, pauses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from reputation import permits
from reputation.domain.kumomta import Names
from reputation.domain.kumomta_shaping import Rate, shaping
from reputation.domain.permit import Ask, Rule
from reputation.domain.permit_book import PermitBook
from reputation.domain.sending_policy import Mode
from reputation.models import KumoServer
from telemetry.domain.cells import DAY
from telemetry.domain.mailbox_providers import OTHER


def shaping_file(server: KumoServer, *, now: datetime) -> str:
    """The shaping file of one server. Raises DatabaseError where the database never answered."""
    book = permits.desk().books.current()
    return shaping(rates(server.names, book, now), book.directory)


def rates(names: Names, book: PermitBook, now: datetime) -> Iterator[Rate]:
    """Every limit of the IPs whose pool enforces; several askers may tell the same one."""
    for source, ip in sorted(names.sources.items()):
        if book.policy_of(book.pool_of(Ask("", ip=ip))).mode is not Mode.ENFORCE:
            continue
        paused_at = {scope.provider for scope in book.breakers.by_scope if (scope.kind, scope.sender) == ("ip", ip)}
        # Those on "other" are nobody in particular: no MX host tells them.
        for provider in sorted({"", *book.directory.titles, *paused_at} - {OTHER}):
            (candidate,) = book.facts(Ask("", ip=ip, provider=provider), now).candidates
            for entry in candidate.breakers:
                if not entry.share and entry.scope is not None:
                    yield Rate(entry.scope.provider, source, ip, Rule.BREAKER.value, 0, DAY)
            for cap in candidate.caps:
                yield Rate(cap.provider, source, ip, cap.rule.value, cap.limit, cap.ends - cap.starts)

"""One run: the episodes one after the other under load, and after each the question whether everything is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.e2e.house import until
from tests.torture.episodes import EPISODES, Episode
from tests.torture.rig import PROCESSES, Rig, pause
from tests.torture.sender import Rates, Sender

# An outage that somebody else has to end lasts so long.
OUTAGE = 6.0
SHORT_OUTAGE = 3.0
# Not an aim (the table shows the times): nobody comes back as late as this by himself.
RECOVERS_WITHIN = 180.0
DRAINS_WITHIN = 240.0
QUICK = Rates(singles=12, hundreds=1, thousands=0.2)
ROLL_UP = "from django.utils import timezone; from telemetry.counters import roll_up; roll_up(now=timezone.now())"
# The processes are stopped: what they left is held against a computation of the same moment.
FRESH = """
from django.utils import timezone
from reputation.models import IpStanding
from reputation.policies import rulebook
from reputation.standing import judge, score_ips
from telemetry import sql
now = timezone.now()
print(sql.take_changed(1)[0])
stored = dict(IpStanding.objects.values_list("sending_ip", "automatic_status"))
fresh = {entry.ip: entry.decision.status.value for entry in judge(None, rulebook(), now=now)}
print(sorted((ip, stored.get(ip), status) for ip, status in fresh.items() if stored.get(ip) != status))
fields = ("sending_ip", "status", "automatic_status", "total_sent", "total_rejected", "why", "issue_type")
score_ips(now=now)
first = sorted(IpStanding.objects.values_list(*fields))
score_ips(now=now)
print(first == sorted(IpStanding.objects.values_list(*fields)))
print(sorted(set(fresh.values())))
"""


@dataclass
class Row:
    """One line of the table."""

    episode: str
    outage: float = 0.0
    refused: int = 0
    web_after: float | None = None
    work_after: float | None = None
    acknowledged: int = 0
    stored: int = 0
    lost: int = 0
    doubled: int = 0
    torn: int = 0
    differing: int = 0


@dataclass
class Result:
    """What a run found."""

    database: str
    full_by: str
    rows: list[Row] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    statuses: str = ""

    def fault(self, text: str) -> None:
        """Note something that must not be."""
        self.faults.append(f"{self.database}: {text}")

    def table(self) -> str:
        """The rows as text."""
        head = (
            f"{'episode':32} {'outage s':>8} {'refused':>8} {'web s':>7} {'work s':>7} {'acked':>8} {'stored':>8} "
            f"{'lost':>5} {'twice':>5} {'torn':>5} {'differ':>6}"
        )
        lines = [f"{self.database} (disk full by {self.full_by})", head]
        for row in self.rows:
            lines.append(
                f"{row.episode:32} {row.outage:8.1f} {row.refused:8} {_seconds(row.web_after)} "
                f"{_seconds(row.work_after)} {row.acknowledged:8} {row.stored:8} {row.lost:5} {row.doubled:5} "
                f"{row.torn:5} {row.differing:6}"
            )
        return "\n".join([*lines, f"answers: {self.statuses}", "no fault" if not self.faults else "FAULTS"])


def _seconds(value: float | None) -> str:
    return f"{value:7.1f}" if value is not None else "  never"


def torture(
    database: str,
    *,
    minutes: float = 0,
    only: str = "",
    names: Sequence[str] = (),
    audit_each: bool = True,
    tell: Callable[[str], None] = lambda text: None,
) -> Result:
    """Run the episodes (repeated until the minutes are over; 0: each once and short) and tell what was found.

    Without `audit_each` events and counters are looked at once, at the end.
    """
    rig = Rig(database, megabytes=256 if minutes < 2 else 512)
    result = Result(database, rig.disk.how)
    try:
        _run(rig, result, minutes=minutes, only=only, names=names, audit_each=audit_each, tell=tell)
        if result.faults:
            tell(rig.house.logs())
            tell("\n".join(rig.told[-3:]))
    finally:
        rig.close()
    return result


def _run(
    rig: Rig,
    result: Result,
    *,
    minutes: float,
    only: str,
    names: Sequence[str],
    audit_each: bool,
    tell: Callable[[str], None],
) -> None:
    rig.start()
    until(rig.house.answers, seconds=RECOVERS_WITHIN, what="the web process did not answer")
    sender = Sender(rig.house.port, rig.token, QUICK if not minutes else Rates())
    begin = time.monotonic()
    sender.start()
    first = Row("(start)")
    _await_recovery(rig, sender, first, runs=0, begin=begin)
    result.rows.append(first)
    chosen = [
        episode
        for episode in EPISODES
        if rig.database in episode.databases
        and only in episode.name
        and (not names or episode.name in names)
        and (rig.clock is not None or not episode.needs_clock)
    ]
    for episode in EPISODES:
        if episode.needs_clock and rig.clock is None and rig.database in episode.databases:
            tell(f"not tried, there is no C compiler: {episode.name}")
    while True:
        for episode in chosen:
            row = _play(rig, sender, episode, result, SHORT_OUTAGE if not minutes else OUTAGE)
            if audit_each:
                rig.house.manage("shell", "--no-imports", "-c", ROLL_UP)
                _audit(rig, sender, row, result)
            tell(f"{rig.database}: {row.episode}: web {_seconds(row.web_after)} s, work {_seconds(row.work_after)} s")
        if time.monotonic() - begin >= minutes * 60:
            break
    _conclude(rig, sender, result)


def _play(rig: Rig, sender: Sender, episode: Episode, result: Result, outage: float) -> Row:
    row = Row(episode.name)
    before = {name: rig.house.processes[name].pid for name in PROCESSES}
    database_restarts = rig.restarts["postgres"]
    refused = sender.refused
    begin = time.monotonic()
    episode.harm(rig, outage)
    row.outage = time.monotonic() - begin
    restored = time.monotonic()
    _await_recovery(rig, sender, row, runs=rig.runs(), begin=restored)
    row.refused = sender.refused - refused
    for name in PROCESSES:
        if name not in episode.killed and rig.house.processes[name].pid != before[name]:
            result.fault(f"{episode.name}: {name} did not survive and was started anew")
    if rig.restarts["postgres"] != database_restarts and not episode.restarts_database:
        result.fault(f"{episode.name}: PostgreSQL was started anew")
    if rig.living_orphans():
        result.fault(f"{episode.name}: what a killed process had started still runs: {rig.living_orphans()}")
    for what, after in (("web", row.web_after), ("the periodic work", row.work_after)):
        if after is None:
            result.fault(f"{episode.name}: {what} did not come back within {RECOVERS_WITHIN:.0f} s")
    result.rows.append(row)
    return row


def _await_recovery(rig: Rig, sender: Sender, row: Row, *, runs: int, begin: float) -> None:
    """Until a request begun after `begin` was acknowledged, and the poll had a turn that ended well."""
    deadline = time.monotonic() + RECOVERS_WITHIN
    while time.monotonic() < deadline and (row.web_after is None or row.work_after is None):
        if runs < 0:
            runs = rig.runs()
        if row.web_after is None and sender.latest_answered_start > begin:
            row.web_after = time.monotonic() - begin
        if row.work_after is None and 0 <= runs < rig.runs():
            row.work_after = time.monotonic() - begin
        pause(0.1)


def _audit(rig: Rig, sender: Sender, row: Row, result: Result) -> None:
    """Is what was acknowledged stored once, is nothing stored twice or in part, do the counters agree."""
    acknowledged = {identity for ids in list(sender.acknowledged.values()) for identity in ids}
    given_up = list(sender.given_up.values())
    stored = rig.stored()
    row.acknowledged, row.stored = len(acknowledged), stored.total()
    row.lost = sum(1 for identity in acknowledged if not stored[identity])
    row.doubled = sum(1 for count in stored.values() if count > 1)
    row.torn = sum(1 for ids in given_up if 0 < sum(1 for identity in ids if stored[identity]) < len(ids))
    found = rig.verify_counters()
    row.differing = found["differing"]
    if row.lost or row.doubled or row.torn or row.differing:
        result.fault(
            f"{row.episode}: {row.lost} lost, {row.doubled} twice, {row.torn} torn, {row.differing} counters differ"
        )
    for difference in found["differences"][:10]:
        result.fault(f"{row.episode}: {difference}")
    counted = [entry for entry in found["stretches"] if entry["table"] == "traffic" and entry["level"] == "minute"]
    if sum(entry["expected"] for entry in counted) < len(acknowledged) - row.lost:
        result.fault(f"{row.episode}: the recount did not see every event: {counted}")


def _conclude(rig: Rig, sender: Sender, result: Result) -> None:
    """Everything sent, everything judged, and the whole of it looked at once more."""
    row = Row("(end)")
    begin = time.monotonic()
    if not sender.finish(seconds=DRAINS_WITHIN):
        result.fault("not everything was acknowledged in the end")
    for odd in sender.odd[:5]:
        result.fault(f"an unexpected answer: {odd}")
    deadline = time.monotonic() + RECOVERS_WITHIN
    while rig.query("SELECT count(*) FROM telemetry_changedsender")[0][0] and time.monotonic() < deadline:
        pause(0.2)
    row.outage = time.monotonic() - begin
    row.web_after = row.work_after = 0.0
    rig.house.manage("shell", "--no-imports", "-c", ROLL_UP)
    _audit(rig, sender, row, result)
    # Nothing that could compute is left when the fresh computation is made.
    for name in ("beat", "worker"):
        rig.end(name)
    waiting, wrong, same, statuses = rig.house.manage("shell", "--no-imports", "-c", FRESH).splitlines()
    if waiting != "0":
        result.fault("changed senders were left waiting")
    if wrong != "[]":
        result.fault(f"standing differs from a fresh computation (IP, stored, fresh): {wrong}")
    if same != "True":
        result.fault("the same moment judged twice gave two standings")
    if "healthy" not in statuses or statuses == "['healthy']":
        result.fault(f"the run did not see good and bad senders: {statuses}")
    result.statuses = ", ".join(f"{count} × {status}" for status, count in sorted(sender.statuses.items()))
    result.rows.append(row)

"""PowerMTA's accounting files, imported and followed."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry import intake
from telemetry.accounting_files import AccountingFiles, join_lines
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.following import CannotFollowError
from telemetry.models import FollowedFile, RejectedEvent, SendingEvent, Source
from telemetry.models.counters import TrafficMinute
from telemetry.parsers.powermta import POWERMTA, Columns
from telemetry.powermta import Database, import_file, rows_of
from tests.conftest import NOON
from tests.site.served import ROOT

HEADER = (
    "type,timeLogged,timeQueued,orig,rcpt,orcpt,dsnAction,dsnStatus,dsnDiag,dsnMta,bounceCat,srcType,srcMta,dlvType,"
    "dlvSourceIp,dlvDestinationIp,dlvEsmtpAvailable,dlvSize,vmta,jobId,envId,queue,vmtaPool"
)
COLUMNS = HEADER.split(",")
REFUSED = {
    "type": "b",
    "timeLogged": "2026-11-20 12:00:00+0000",
    "timeQueued": "2026-11-20 11:59:58+0000",
    "orig": "news@example.com",
    "rcpt": "a@outlook.com",
    "dsnAction": "failed",
    "dsnStatus": "5.7.1 (delivery not authorized)",
    "dsnDiag": "smtp;550 5.7.606 Access denied, banned sending IP [203.0.113.10]",
    "dsnMta": "outlook-com.olc.protection.outlook.com (52.101.73.8)",
    "bounceCat": "policy-related",
    "dlvType": "smtp",
    "dlvSourceIp": "203.0.113.10",
    "vmta": "vmta-10",
    "jobId": "job-1",
}


def row(**changed: Any) -> dict[str, Any]:
    return REFUSED | changed


def delivered(number: int, **changed: Any) -> dict[str, Any]:
    return row(
        type="d",
        rcpt=f"someone{number}@gmail.com",
        dsnStatus="2.0.0 (success)",
        dsnDiag=f"smtp;250 2.0.0 OK {number}",
        bounceCat="",
        **changed,
    )


def text(*rows: dict[str, Any], columns: list[str] | None = None, header: bool = True) -> str:
    out = io.StringIO()
    names = columns or COLUMNS
    writer = csv.DictWriter(out, names, restval="", extrasaction="ignore", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def parse(ip_map: dict[str, str] | None = None, **changed: Any) -> Event:
    (event,) = POWERMTA.events(json.dumps(row(**changed)).encode(), NOON, ip_map or {})
    return event


@pytest.fixture
def pmta(db: None) -> Source:
    return Source.objects.create(name="pmta-1", kind="powermta")


def read_in(source: Source, path: Path, **columns: str) -> Any:
    return import_file(source, path, Columns(**columns), batch=100, progress=lambda _: None)


def counted() -> dict[tuple[str, str], tuple[int, ...]]:
    sums: dict[tuple[str, str], list[int]] = {}
    measures = ("delivered", "bounced", "deferred", "complained")
    for ip, domain, *numbers in TrafficMinute.objects.values_list("sending_ip", "sending_domain", *measures):
        cell = sums.setdefault((ip, domain), [0] * 4)
        for place, number in enumerate(numbers):
            cell[place] += number
    return {key: tuple(cell) for key, cell in sums.items()}


# --- one row --------------------------------------------------------------------------------------------------------


def test_a_refusal_is_read_whole() -> None:
    event = parse()
    assert (event.type, event.occurred_at) == (EventType.BOUNCE, datetime(2026, 11, 20, 12, 0, tzinfo=UTC))
    assert (event.sending_ip, event.sending_domain) == ("203.0.113.10", "example.com")
    assert (event.recipient, event.mx_host) == ("a@outlook.com", "outlook-com.olc.protection.outlook.com")
    assert (event.smtp_code, event.enhanced_code) == (550, "5.7.606")
    assert event.reply == "Access denied, banned sending IP [203.0.113.10]"
    assert (event.classification, event.message_id) == ("policy-related", "job-1")
    assert "outlook" not in event.event_id


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("d", "delivery"),
        ("delivery", "delivery"),
        ("b", "bounce"),
        ("t", "defer"),
        ("f", "complaint"),
        ("rb", "bounce"),
        ("tq", None),
        ("r", None),
        ("rs", None),
        ("x-new", None),
        ("", None),
    ],
)
def test_each_type_of_record_becomes_what_it_means(kind: str, found: str | None) -> None:
    events = POWERMTA.events(json.dumps(row(type=kind)).encode(), NOON, {})
    assert [str(event.type) for event in events] == ([found] if found else [])


@pytest.mark.parametrize(
    ("diagnostic", "status", "codes", "reply"),
    [
        ("smtp;550 5.7.1 text", "5.7.1 (policy)", (550, "5.7.1"), "text"),
        ("smtp; 550 5.7.1 text; more", "", (550, "5.7.1"), "text; more"),
        ("smtp;550-5.7.1 text", "5.0.0", (550, "5.7.1"), "text"),
        ("smtp;421 try later", "4.0.0 (undefined status)", (421, "4.0.0"), "try later"),
        ("smtp;550", "5.1.1", (550, "5.1.1"), ""),
        ("550 no", "5.1.1 (bad destination mailbox address)", (550, "5.1.1"), "no"),
        ("", "4.4.1 (no answer from host)", (None, "4.4.1"), ""),
        ("x-pmta;connection refused", "4.4.1", (None, "4.4.1"), "connection refused"),
        ("smtp;5505 elephants", "", (None, ""), "5505 elephants"),
        ("smtp;554 5.7.1.2 odd", "nonsense", (554, ""), "5.7.1.2 odd"),
    ],
)
def test_codes_and_text_of_a_diagnostic(diagnostic: str, status: str, codes: tuple[Any, str], reply: str) -> None:
    event = parse(dsnDiag=diagnostic, dsnStatus=status)
    assert ((event.smtp_code, event.enhanced_code), event.reply) == (codes, reply)


@pytest.mark.parametrize(
    ("written", "zone", "hour"),
    [
        ("2026-11-20 12:00:00+0100", "", 11),
        ("2026-11-20T12:00:00Z", "Europe/Berlin", 12),
        ("2026-11-20 12:00:00", "", 12),
        ("2026-11-20 12:00:00", "Europe/Berlin", 11),
        ("1795176000", "Europe/Berlin", 12),
    ],
)
def test_times_with_and_without_a_zone(written: str, zone: str, hour: int) -> None:
    assert parse(timeLogged=written, zone=zone).occurred_at == datetime(2026, 11, 20, hour, 0, tzinfo=UTC)


def test_a_virtual_mta_is_mapped_where_the_row_has_no_address() -> None:
    ips = {"vmta-10": "198.51.100.7"}
    assert parse(ips, dlvSourceIp="").sending_ip == "198.51.100.7"
    assert parse(ips).sending_ip == "203.0.113.10"
    assert parse(dlvSourceIp="").sending_ip == "0.0.0.0"
    # The key does not hang on the mapping: a mapping that was made later makes no second event of an old row.
    assert parse(ips, dlvSourceIp="").event_id == parse(dlvSourceIp="").event_id


def test_what_went_to_no_mx_host_is_passed_over() -> None:
    assert not POWERMTA.events(json.dumps(row(type="d", dlvType="discard")).encode(), NOON, {})


def test_a_complaint_is_about_the_reported_ip_and_domain() -> None:
    told = {"repSourceIp": "203.0.113.11", "reportedDomain": "shop.example", "feedbackType": "abuse"}
    report = row(type="f", rcpt="[gone]", **told)
    (event,) = POWERMTA.events(json.dumps(report).encode(), NOON, {})
    assert (event.sending_ip, event.sending_domain, event.recipient) == ("203.0.113.11", "shop.example", "")
    assert not POWERMTA.events(json.dumps(report | {"feedbackType": "not-spam"}).encode(), NOON, {})


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"rcpt": "nobody"}, "rcpt"),
        ({"orig": "nobody"}, "orig"),
        ({"dlvSourceIp": "10.0.0"}, "dlvSourceIp"),
        ({"timeLogged": "yesterday"}, "timeLogged"),
        ({"timeLogged": ""}, "timeLogged"),
        ({"timeLogged": "2026-11-20 12:00:00", "zone": "Nowhere/Land"}, "zone"),
        ({"timeLogged": "2026-11-20 12:00:00", "zone": "../../etc/passwd"}, "timeLogged"),
        ({"jobId": "a\nb"}, "jobId"),
        ({"orig": 3}, "orig"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(**changed)
    assert caught.value.field == field


# --- columns and lines ----------------------------------------------------------------------------------------------


def test_columns_are_found_by_name_in_any_order_and_most_may_be_absent() -> None:
    few = ["rcpt", "timeLogged", "header_Subject", "orig", "DLVSOURCEIP"]
    columns = Columns()
    head, line = text(row(DLVSOURCEIP="203.0.113.10"), columns=["type", *few]).encode().splitlines()
    assert columns.row(head) is None
    found = columns.row(line)
    assert found is not None
    assert b"Subject" not in found
    (event,) = POWERMTA.events(found, NOON, {})
    assert (event.sending_ip, event.sending_domain, event.recipient) == ("203.0.113.10", "example.com", "a@outlook.com")


def test_a_header_in_the_middle_changes_the_columns() -> None:
    rows = [row(rcpt="a@gmail.com"), row(rcpt="b@gmail.com")]
    other = ["type", "rcpt", "timeLogged", "orig"]
    lines = (text(rows[0]) + text(rows[1], columns=other)).encode().splitlines()
    events = [event for raw in rows_of(lines, Columns()) for event in POWERMTA.events(raw, NOON, {})]
    assert [event.recipient for event in events] == ["a@gmail.com", "b@gmail.com"]


def test_a_quoted_reply_may_span_lines_and_a_stray_quote_costs_one_row() -> None:
    long = text(row(dsnDiag='smtp;550 first\nsecond, "third"\n\nlast'), delivered(1)).encode().split(b"\n")[:-1]
    records, unfinished = join_lines(long)
    assert (len(records), unfinished) == (3, 0)
    assert join_lines(long[:3]) == (records[:1], 2)
    stray = text(row(), delivered(1), header=False).replace("smtp;550", '"smtp;550', 1).encode().split(b"\n")[:-1]
    assert join_lines(stray) == (stray, 0)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_a_writer_quotes_is_read_as_it_was(data: st.DataObject) -> None:
    # A line that looks like the beginning of a record ends a quote, so there is no comma here; nor what we cut off.
    fields = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00,"), max_size=30)
    rows = data.draw(st.lists(st.builds(lambda reply, job: row(dsnDiag=reply, jobId=job), fields, fields), max_size=6))
    lines = text(*rows).encode().split(b"\n")[:-1]
    records, unfinished = join_lines(lines)
    assert unfinished == 0
    read = [json.loads(raw) for raw in rows_of(records, Columns())]
    assert [(r.get("dsnDiag", ""), r.get("jobId", "")) for r in read] == [(r["dsnDiag"], r["jobId"]) for r in rows]


LINE = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([text().encode().strip(), b"type,rcpt", b'"', b"d,", b",,,", b"\xef\xbb\xbftype,rcpt,orig"]),
    st.builds(
        lambda name, value: text(row(**{name: value}), header=False).encode().strip(b"\n"),
        st.sampled_from(COLUMNS),
        st.text(max_size=30) | st.sampled_from(["0", "9" * 40, "::", "1e9", "2026-11-20", "smtp;", "<>"]),
    ),
)


PAYLOAD = st.dictionaries(st.sampled_from([*COLUMNS, "zone"]), st.text(max_size=20))


@settings(max_examples=1000, deadline=None)
@given(lines=st.lists(LINE, max_size=8))
def test_any_lines_give_events_or_name_the_field(lines: list[bytes]) -> None:
    columns = Columns()
    records, unfinished = join_lines(lines)
    assert b"\n".join([*records, *lines[len(lines) - unfinished :]]) == b"\n".join(lines)
    for raw in rows_of([text().encode().strip(), *records], columns):
        try:
            events = POWERMTA.events(raw, NOON, {"vmta-10": "198.51.100.7"})
        except ParseError as caught:
            named = bool(caught.field and caught.message)
            assert named
        else:
            assert all(isinstance(event, Event) and "\x00" not in event.reply for event in events)


@settings(max_examples=500, deadline=None)
@given(raw=st.binary(max_size=80) | PAYLOAD.map(json.dumps).map(str.encode))
def test_any_payload_gives_an_event_or_names_the_field(raw: bytes) -> None:
    try:
        events = POWERMTA.events(raw, NOON, {})
    except ParseError as caught:
        named = bool(caught.field and caught.message)
        assert named
    else:
        assert all(isinstance(event, Event) for event in events)


# --- importing ------------------------------------------------------------------------------------------------------


def test_an_import_counts_every_row_once_whatever_is_imported_again(pmta: Source, tmp_path: Path) -> None:
    rows = [delivered(number) for number in range(500)] + [
        row(rcpt=f"x{number}@outlook.com", type=kind) for number in range(30) for kind in ("b", "t", "tq")
    ]
    random.Random(3).shuffle(rows)
    path = tmp_path / "acct.csv"
    path.write_text(text(*rows))
    done = read_in(pmta, path)
    assert (done.rows, done.new, done.known, done.ignored, done.rejected) == (590, 560, 0, 30, 0)
    before = counted()
    assert before == {("203.0.113.10", "example.com"): (500, 30, 30, 0)}
    again = tmp_path / "acct-again.csv.gz"
    again.write_bytes(gzip.compress(text(*rows[::-1]).encode()))
    assert (read_in(pmta, again).known, counted()) == (560, before)


def test_rows_that_differ_in_time_status_or_queueing_are_events_of_their_own(pmta: Source, tmp_path: Path) -> None:
    path = tmp_path / "acct.csv"
    changes = [
        {},
        {"timeLogged": "2026-11-20 12:00:01+0000"},
        {"dsnStatus": "4.7.0"},
        {"jobId": "job-2"},
        {"type": "t"},
    ]
    path.write_text(text(*[row(**change) for change in [*changes, {"timeQueued": "2026-11-20 11:00:00+0000"}, {}]]))
    done = read_in(pmta, path)
    assert (done.new, done.known) == (6, 1)


def test_a_rejected_row_is_kept_with_its_field_told_by_its_place_and_replayed(pmta: Source, tmp_path: Path) -> None:
    path = tmp_path / "acct.csv"
    path.write_text(text(delivered(1), row(dlvSourceIp="10.0.0"), delivered(2)) + "d,too,short\n" + 'b,x"y\n')
    done = read_in(pmta, path)
    assert [(entry.index, entry.field) for entry in done.told] == [(2, "dlvSourceIp"), (4, "line"), (5, "line")]
    assert (done.new, done.rejected, RejectedEvent.objects.count()) == (2, 3, 3)
    kept = RejectedEvent.objects.get(field="dlvSourceIp")
    kept.payload = kept.payload.replace("10.0.0", "203.0.113.10")
    assert intake.replay(kept, now=timezone.now()) is None
    assert SendingEvent.objects.filter(type="bounce").get().sending_ip == "203.0.113.10"
    read_in(pmta, path)
    assert RejectedEvent.objects.count() == 3


def test_rows_before_any_header_are_kept_and_not_guessed(pmta: Source, tmp_path: Path) -> None:
    path = tmp_path / "acct.csv"
    path.write_text(text(delivered(1), header=False))
    assert read_in(pmta, path).rejected == 1
    assert not SendingEvent.objects.exists()


def command(*options: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("import_powermta", *options, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_the_command_says_what_became_of_a_file(pmta: Source, tmp_path: Path) -> None:
    path = tmp_path / "acct.csv"
    path.write_text(text(delivered(1, timeLogged="2026-11-20 12:00:00"), row(rcpt="nobody")))
    out, err = command(str(path), "--source", "pmta-1")
    assert "2 rows: 1 events new, 0 known already, 0 ignored, 1 rejected" in out
    assert "row 2: rcpt is not an e-mail address" in err
    assert "1 times carry no time zone" in err
    assert "nobody" not in out + err
    assert "no time zone" not in command(str(path), "--source", "pmta-1", "--timezone", "Europe/Berlin")[1]


def test_the_command_names_what_it_cannot_do(pmta: Source, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="create_source"):
        command("x", "--source", "other")
    with pytest.raises(CommandError, match="No such file"):
        command(str(tmp_path / "none.csv"), "--source", "pmta-1")
    with pytest.raises(CommandError, match="is no time zone"):
        command("x", "--source", "pmta-1", "--timezone", "Nowhere")
    with pytest.raises(CommandError, match="Quote the pattern"):
        command("x", "y", "--source", "pmta-1", "--follow")
    Source.objects.update(kind="postfix")
    with pytest.raises(CommandError, match="of kind postfix"):
        command("x", "--source", "pmta-1")


# --- following ------------------------------------------------------------------------------------------------------


def follow_once(folder: Path, *, name: str = "acct*.csv*", batch: int = 3, most: int = 10**6) -> int:
    """One run of a follower, from where the last one stopped: what it recorded. It stops after `most` batches."""
    source, columns = Source.objects.get(name="pmta-1"), Columns()
    pattern = str(folder / name)
    database, total = Database(source, pattern, columns), 0
    with AccountingFiles(pattern, columns, database.begin()) as files:
        while most > 0 and (records := files.read(batch)):
            total += database.record(records, files.position, now=timezone.now()).lines
            most -= 1
    return total


def append(path: Path, *rows: dict[str, Any], header: bool = False) -> None:
    with path.open("a") as file:
        file.write(text(*rows, header=header))


def recorded() -> list[str]:
    found = [int(reply.rpartition(" ")[2]) for reply in SendingEvent.objects.values_list("reply", flat=True)]
    assert len(found) == len(set(found))
    return sorted(found)


def test_a_follower_goes_on_where_it_stopped_under_the_right_header(pmta: Source, tmp_path: Path) -> None:
    path = tmp_path / "acct-2026-11-20-0000.csv"
    append(path, *[delivered(number) for number in range(100)], header=True)
    assert follow_once(tmp_path) == 101
    append(path, *[delivered(number) for number in range(100, 110)])
    assert follow_once(tmp_path) == 10
    assert recorded() == list(range(110))
    assert not RejectedEvent.objects.exists()
    assert FollowedFile.objects.get().offset == path.stat().st_size


def test_a_row_without_its_end_waits_for_it(pmta: Source, tmp_path: Path) -> None:
    path = tmp_path / "acct.csv"
    whole = text(delivered(1), delivered(2, envId="quoted\nover\nlines"), delivered(3)).encode()
    for end in range(0, len(whole), 7):
        with path.open("ab") as file:
            file.write(whole[end : end + 7])
        follow_once(tmp_path)
    assert recorded() == [1, 2, 3]
    assert not RejectedEvent.objects.exists()


def test_a_record_that_is_half_there_is_not_stepped_over(pmta: Source, tmp_path: Path) -> None:
    path, columns = tmp_path / "acct.csv", Columns()
    half = text(delivered(1), delivered(2, envId="over\nlines")).replace("over\n", "over\n|").split("|")
    path.write_text(half[0])
    with AccountingFiles(str(path), columns) as files:
        assert len(files.read(10)) == 2
        assert files.position is not None
        assert files.position.offset == len(text(delivered(1)))
        assert files.read(10) == []
        with path.open("a") as file:
            file.write(half[1])
        assert len(files.read(10)) == 1


def test_late_rows_of_a_finished_file_are_found_after_a_restart(pmta: Source, tmp_path: Path) -> None:
    old, new = tmp_path / "acct-0.csv", tmp_path / "acct-1.csv"
    append(old, delivered(0), header=True)
    append(new, delivered(1), header=True)
    follow_once(tmp_path)
    append(old, delivered(2))
    append(new, delivered(3))
    now = time.time()
    os.utime(old, (now - 60, now - 60))
    os.utime(new, (now, now))
    follow_once(tmp_path, most=1)
    follow_once(tmp_path)
    assert recorded() == [0, 1, 2, 3]


def test_new_files_renamed_ones_and_moved_ones_lose_nothing(pmta: Source, tmp_path: Path) -> None:
    first, second = tmp_path / "acct-2026-11-20-0000.csv", tmp_path / "acct-2026-11-20-0001.csv"
    append(first, delivered(0), delivered(1), header=True)
    source, columns = Source.objects.get(), Columns()
    pattern = str(tmp_path / "acct*.csv")
    database = Database(source, pattern, columns)
    with AccountingFiles(pattern, columns) as files:

        def step() -> None:
            while records := files.read(1):
                database.record(records, files.position, now=timezone.now())

        step()
        append(first, delivered(2))
        (tmp_path / "done").mkdir()
        first.rename(tmp_path / "done" / first.name)
        append(second, delivered(3), header=True)
        step()
        assert recorded() == [0, 1, 2, 3]
        second.rename(tmp_path / "acct.csv")
        append(tmp_path / "acct.csv", delivered(4))
        second.write_text(text(delivered(5)))
        step()
        append(tmp_path / "acct.csv", delivered(6))  # late, when its successor has begun
        step()
        second.write_text(text(delivered(7)))  # cut off and written anew
        step()
        second.unlink()
        second.write_text(text(delivered(8)))  # likely to get the inode of the deleted one
        step()
    assert recorded() == list(range(9))
    assert not RejectedEvent.objects.exists()


def test_where_the_last_file_is_gone_all_is_read_and_nothing_doubled(pmta: Source, tmp_path: Path) -> None:
    for number in range(3):
        append(tmp_path / f"acct-{number}.csv", delivered(number), header=True)
    follow_once(tmp_path)
    (tmp_path / "acct-2.csv").unlink()
    append(tmp_path / "acct-3.csv", delivered(3), header=True)
    follow_once(tmp_path)
    assert recorded() == [0, 1, 2, 3]


def test_the_position_is_stored_only_with_what_it_recorded(
    pmta: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "acct.csv"
    path.write_text(text(*[delivered(number) for number in range(10)]))
    columns = Columns()
    database = Database(pmta, "p", columns)
    with AccountingFiles(str(path), columns) as files:
        records = files.read(100)
        for broken in ("_store", "record"):
            target: Any = Database if broken == "_store" else intake
            name = broken if broken == "_store" else "record_batch"

            def fail(*_: object, **__: object) -> None:
                raise RuntimeError("killed here")

            monkeypatch.setattr(target, name, fail)
            with pytest.raises(RuntimeError):
                database.record(records, files.position, now=timezone.now())
            monkeypatch.undo()
            assert not SendingEvent.objects.exists()
            assert not FollowedFile.objects.exists()
        database.record(records, files.position, now=timezone.now())
    assert recorded() == list(range(10))


def test_an_inactive_source_is_not_followed(pmta: Source, tmp_path: Path) -> None:
    (tmp_path / "acct.csv").write_text(text(delivered(1)))
    Source.objects.update(is_active=False)
    with pytest.raises(CannotFollowError):
        follow_once(tmp_path)


def test_following_may_begin_with_what_comes(pmta: Source, tmp_path: Path) -> None:
    path = tmp_path / "acct.csv"
    append(path, delivered(1), header=True)
    columns = Columns()
    with AccountingFiles(str(path), columns, at_end=True) as files:
        assert files.read(10) == []
        append(path, delivered(2))
        assert rows_of(files.read(10), columns) != []


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_killed_follower_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The real command is killed again and again while files grow and are rotated."""
    Source.objects.create(name="pmta-1", kind="powermta")
    chance, written = random.Random(11), 0
    path = tmp_path / "acct-0000.csv"
    append(path, header=True)

    def start() -> subprocess.Popen[bytes]:
        pattern = str(tmp_path / "acct-*.csv")
        options = ["--follow", pattern, "--source", "pmta-1", *("--batch", "60", "--interval", "0.02")]
        name, server = connection.settings_dict["NAME"], os.environ.get("TESTS_DATABASE_URL")
        url = f"sqlite:///{name}" if server is None else f"{server.rpartition('/')[0]}/{name}"
        return subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "import_powermta", *options],
            env=os.environ | {"DATABASE_URL": url, "GS_DATA_DIR": str(django_settings.DATA_DIR)},
            stderr=subprocess.PIPE,
        )

    for run in range(3):
        follower = start()
        target = written + chance.randrange(100, 900)
        deadline = time.monotonic() + 20
        # Killed somewhere in its work, while the file grows and others begin.
        while time.monotonic() < deadline and SendingEvent.objects.count() < target:
            if written < target + 200:
                append(path, *[delivered(number) for number in range(written, written + 40)])
                written += 40
            if chance.random() < 0.05:
                path = tmp_path / f"acct-{run}{written:06}.csv"
                append(path, header=True)
        follower.send_signal(signal.SIGKILL)
        assert follower.stderr is not None
        said = follower.stderr.read().decode()
        follower.wait()
        assert "rror" not in said, said
    follower = start()
    # Something that only this one can have read: by then it listens to signals.
    append(path, delivered(written))
    written += 1
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and SendingEvent.objects.count() < written:
        time.sleep(0.05)
    follower.terminate()
    assert follower.wait(timeout=30) == 0
    assert recorded() == list(range(written))
    assert counted() == {("203.0.113.10", "example.com"): (written, 0, 0, 0)}
    assert Counter(RejectedEvent.objects.values_list("field")) == {}
    assert timedelta(0) < timezone.now() - FollowedFile.objects.get().updated_at

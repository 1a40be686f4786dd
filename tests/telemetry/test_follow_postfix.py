"""The follower records each line of a log once, whenever it is stopped, killed, rotated or started twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import Sum
from django.utils import timezone

from telemetry import following, postfix_ledger
from telemetry.following import Stdin, Stop
from telemetry.models import FollowedFile, PostfixQueueEntry, SendingEvent, Source, TrafficMinute
from tests.site.served import ROOT, until
from tests.telemetry.crowd import picture, start
from tests.telemetry.postfix_traffic import NAMES, count, log_of
from tests.telemetry.test_log_files import Writer

pytestmark = pytest.mark.django_db(transaction=True)
LINE = (
    "{:%b} {:2d} {:%H:%M:%S} mta postfix-ip-a/smtp[1]: 4jWcPQ0{}: to=<a{}@gmail.com>, relay=mx.gmail.com[192.0.2.1]:25, "
    "delay=1, dsn=2.0.0, status=sent (250 ok)"
)


@pytest.fixture
def mta(db: Any) -> Source:
    return Source.objects.create(name="mta-1", kind="postfix", ip_map=NAMES)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


def delivery(number: int = 0) -> str:
    now = timezone.now()
    return LINE.format(now, now.day, now, number, number)


def follow(path: Path | str, *options: str) -> None:
    call_command("follow_postfix", str(path), "--source", "mta-1", "--timezone", "UTC", *options)


def recorded() -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """What the counters say, in the words of `postfix_traffic.count`."""
    names = {address: name for name, address in NAMES.items()}
    outcomes: Counter[tuple[str, str]] = Counter()
    superseded: Counter[str] = Counter()
    rows = TrafficMinute.objects.values_list("sending_ip").annotate(
        Sum("delivered"), Sum("bounced"), Sum("deferred"), Sum("superseded")
    )
    for address, delivered, bounced, deferred, replaced in rows.order_by():
        name = names[address]
        outcomes += Counter({(name, "sent"): delivered, (name, "bounced"): bounced, (name, "deferred"): deferred})
        superseded[name] += replaced
    return outcomes, +superseded


def start_over() -> None:
    call_command("flush", interactive=False, verbosity=0)
    Source.objects.create(name="mta-1", kind="postfix", ip_map=NAMES)


def test_the_counters_say_what_a_grep_of_the_log_says(mta: Source, tmp_path: Path) -> None:
    lines = log_of(400, end=timezone.now())
    log = tmp_path / "mail.log"
    log.write_bytes(b"\n".join([*lines, b""]))
    follow(log, "--once", "--batch", "50")
    assert recorded() == count(lines)
    assert set(SendingEvent.objects.values_list("sending_domain", flat=True)) == {"good.example", "other.example", ""}
    # Only messages that still wait are remembered, by digests.
    waiting = {entry.queue_id: entry.attempts for entry in PostfixQueueEntry.objects.all()}
    assert waiting
    assert not any("@" in name for attempts in waiting.values() for name in attempts)
    follow(log, "--once")
    assert recorded() == count(lines)


@pytest.mark.slow
@pytest.mark.parametrize("rotate", [Writer.rename, Writer.copy_and_truncate])
def test_killed_at_any_moment_while_the_log_grows_and_rotates_it_loses_and_doubles_nothing(
    mta: Source, writer: Writer, rotate: Callable[[Writer], None]
) -> None:
    chance = random.Random(4)
    lines = log_of(700, end=timezone.now())
    rest = iter(lines)

    def grow() -> None:
        for line in islice(rest, chance.randint(1, 25)):
            cut = chance.randint(0, len(line))
            writer.raw(line[:cut])
            writer.raw(line[cut:] + b"\n")

    kills = died_at_work = 0
    writer.raw(next(rest) + b"\n")
    # From here on there is a position: what is rotated away before the very first start is nobody's to find.
    follow(writer.path, "--once")
    while True:
        before = SendingEvent.objects.count()
        follower = start(lambda: follow(writer.path, "--batch", "13", "--interval", "0.01"))
        for _ in range(chance.randint(1, 9)):
            grow()
            follower.join(chance.uniform(0, 0.06))
            if chance.random() < 0.3 and writer.path.stat().st_size:
                rotate(writer)
        assert follower.is_alive()
        assert follower.pid is not None
        os.kill(follower.pid, signal.SIGKILL)
        follower.join(30)
        kills += 1
        died_at_work += SendingEvent.objects.count() > before
        if (last := next(rest, None)) is None:
            break
        writer.raw(last + b"\n")
    assert kills > 12
    assert died_at_work > 5
    follow(writer.path, "--once")
    assert recorded() == count(lines)
    killed = picture()

    start_over()
    whole = writer.path.parent / "whole" / "mail.log"
    whole.parent.mkdir()
    whole.write_bytes(b"\n".join([*lines, b""]))
    follow(whole, "--once")
    single = picture()
    for name, rows in single.items():
        assert killed[name] == rows, name


@pytest.mark.parametrize("where", ["join", "record_batch", "_store", "_move"])
def test_killed_inside_the_transaction_it_leaves_neither_events_nor_position(
    mta: Source, writer: Writer, where: str
) -> None:
    lines = log_of(30, end=timezone.now())
    writer.raw(b"\n".join([*lines, b""]))
    follower = start(lambda: _stop_behind(where, lambda: follow(writer.path, "--once")))
    follower.join(60)
    assert follower.exitcode == -signal.SIGKILL
    assert SendingEvent.objects.count() == PostfixQueueEntry.objects.count() == 0
    assert FollowedFile.objects.get().offset == 0
    follow(writer.path, "--once")
    assert recorded() == count(lines)


def _stop_behind(where: str, work: Callable[[], None]) -> None:
    holder: Any = postfix_ledger.Database if where.startswith("_") else postfix_ledger
    real = getattr(holder, where)

    def then_die(*arguments: Any, **named: Any) -> Any:
        real(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(holder, where, then_die)
    work()


@contextmanager
def manage(*arguments: str, environ: dict[str, str] | None = None, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A real `manage.py` on the test's database."""
    connection.close()
    name = connection.settings_dict["NAME"]
    server = os.environ.get("TESTS_DATABASE_URL")
    url = f"sqlite:///{name}" if server is None else server.rsplit("/", 1)[0] + f"/{name}"
    environment = os.environ | {"DATABASE_URL": url, "GS_DATA_DIR": str(settings.DATA_DIR)} | (environ or {})
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "follow_postfix", *arguments],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def test_a_real_process_goes_on_after_kill_9_and_ends_in_order_at_sigterm(mta: Source, writer: Writer) -> None:
    arguments = (str(writer.path), "--source", "mta-1", "--timezone", "UTC", "--interval", "0.05")
    writer.raw(f"{delivery(0)}\n".encode())
    with manage(*arguments) as process:
        until(lambda: SendingEvent.objects.count() == 1, within=30, what="the first event")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    writer.raw(f"{delivery(1)}\n".encode())
    writer.rename()
    writer.raw(f"{delivery(2)}\n{delivery(3)}"[:-9].encode())
    with manage(*arguments) as process:
        until(lambda: SendingEvent.objects.count() == 3, within=30, what="the events written meanwhile")
        writer.raw(delivery(3)[-9:].encode() + b"\n")
        until(lambda: SendingEvent.objects.count() == 4, within=30, what="the line that was half-written")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert process.stderr is not None
        said = process.stderr.read()
    assert "followed lines=3 events=3 unmapped=0" in said
    assert "@" not in said


def test_a_database_that_cannot_be_written_is_waited_for(mta: Source, writer: Writer) -> None:
    arguments = (str(writer.path), "--source", "mta-1", "--timezone", "UTC", "--interval", "0.05")
    with manage(*arguments, environ={"GS_SQLITE_TIMEOUT": "1"}) as process:
        writer.raw(f"{delivery(0)}\n".encode())
        until(lambda: SendingEvent.objects.count() == 1, within=30, what="the first event")
        if connection.vendor == "sqlite":
            with transaction.atomic():  # holds the only write lock
                writer.raw(f"{delivery(1)}\n".encode())
                assert process.stderr is not None
                assert "trying again" in process.stderr.readline()
        else:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            writer.raw(f"{delivery(1)}\n".encode())
        until(lambda: SendingEvent.objects.count() == 2, within=30, what="the event written meanwhile")


def test_a_second_follower_of_the_same_file_is_told_so_and_nothing_counts_twice(mta: Source, writer: Writer) -> None:
    writer.raw(f"{delivery(0)}\n".encode())
    follow(writer.path, "--once")
    position, _ = _ledger(mta, writer).begin()
    slow = _ledger(mta, writer)
    slow.begin()
    writer.raw(f"{delivery(1)}\n".encode())
    follow(writer.path, "--once")
    with pytest.raises(postfix_ledger.CannotFollowError, match="Another follower"):
        slow.record([delivery(1).encode()], position, now=timezone.now())
    assert SendingEvent.objects.count() == 2


def test_a_commit_whose_answer_was_lost_is_not_repeated(mta: Source, writer: Writer) -> None:
    writer.raw(f"{delivery(0).replace('sent', 'deferred')}\n".encode())
    ledger = _ledger(mta, writer)
    follow(writer.path, "--once", "--from-end")
    position, _ = ledger.begin()
    assert position is not None
    line = delivery(1).replace("sent", "deferred").encode()
    after = type(position)(position.device, position.inode, position.offset + 9, position.head_digest, 9)
    for _ in range(2):
        ledger.record([line], after, now=timezone.now())
        ledger._last = position  # as after an error that came instead of the commit's answer
    assert PostfixQueueEntry.objects.get().attempts.popitem()[1] == 1


def _ledger(source: Source, writer: Writer) -> postfix_ledger.Database:
    return postfix_ledger.Database(source, path=writer.path, zone=UTC, ip_map={})


def test_from_the_end_takes_only_what_comes_later_even_when_it_comes_before_the_first_restart(
    mta: Source, writer: Writer
) -> None:
    writer.raw(f"{delivery(0)}\n".encode())
    follow(writer.path, "--once", "--from-end")
    writer.raw(f"{delivery(1)}\n".encode())
    follow(writer.path, "--once", "--from-end")
    assert list(SendingEvent.objects.values_list("message_id", flat=True)) == ["4jWcPQ01"]


def test_an_unmapped_name_is_said_once_loudly_and_its_events_go_under_the_unknown_ip(
    mta: Source, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    writer.raw("".join(f"{delivery(n).replace('ip-a', 'ip-x')}\n" for n in range(5)).encode())
    follow(writer.path, "--once", "--batch", "2")
    assert set(SendingEvent.objects.values_list("sending_ip", flat=True)) == {"0.0.0.0"}
    warnings = [entry for entry in caplog.records if entry.levelname == "WARNING"]
    assert [getattr(entry, "syslog_name", "") for entry in warnings] == ["postfix-ip-x"]


def test_the_command_lines_mapping_comes_before_the_sources(mta: Source, writer: Writer) -> None:
    writer.raw(f"{delivery(0)}\n{delivery(1).replace('ip-a', 'ip-b')}\n".encode())
    follow(writer.path, "--once", "--ip", "postfix-ip-a=2001:DB8::0:1")
    assert list(SendingEvent.objects.order_by("id").values_list("sending_ip", flat=True)) == [
        "2001:db8::1",
        "192.0.2.12",
    ]


def test_standard_input_is_read_to_its_end_and_a_repetition_counts_once(mta: Source) -> None:
    lines = log_of(200, end=timezone.now())
    given = b"\n".join(lines)  # the last newline is missing
    for _ in range(2):
        with manage("-", "--source", "mta-1", "--timezone", "UTC", stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.buffer.write(given)
            process.stdin.close()
            assert process.wait(60) == 0
        assert recorded() == count(lines)


def test_a_pipe_is_recorded_while_it_is_open_and_sigterm_ends_it_in_order(mta: Source) -> None:
    with manage("-", "--source", "mta-1", "--timezone", "UTC", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(f"{delivery(0)}\n{delivery(1)}\n")
        process.stdin.flush()
        until(lambda: SendingEvent.objects.count() == 2, within=30, what="the lines in the pipe")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_what_was_taken_from_a_pipe_is_recorded_even_when_we_are_asked_to_stop(mta: Source) -> None:
    class StopsAfterTheFirst(postfix_ledger.Database):
        def record(self, *arguments: Any, **named: Any) -> Any:
            stop.requested = True
            return super().record(*arguments, **named)

    reader, writer = os.pipe()
    os.write(writer, "".join(f"{delivery(number)}\n" for number in range(7)).encode())
    ledger = StopsAfterTheFirst(mta, path=None, zone=UTC, ip_map={})
    with Stop() as stop:
        following.follow(Stdin(reader), ledger, stop, batch=2, interval=1, once=False)
    os.close(reader)
    os.close(writer)
    assert SendingEvent.objects.count() == 7


def test_messages_that_were_silent_for_a_week_are_forgotten(mta: Source, writer: Writer) -> None:
    old, young = timezone.now() - timedelta(days=8), timezone.now() - timedelta(days=6)
    for queue_id, seen in (("OLD11", old), ("YOUNG11", young)):
        PostfixQueueEntry.objects.create(source=mta, host="mta", queue_id=queue_id, last_seen=seen)
    writer.raw(f"{delivery(0)}\n".encode())
    follow(writer.path, "--once")
    assert set(PostfixQueueEntry.objects.values_list("queue_id", flat=True)) == {"YOUNG11", "4jWcPQ00"}


def test_two_hosts_in_one_log_may_use_the_same_queue_id(mta: Source, writer: Writer) -> None:
    deferred = delivery(0).replace("sent", "deferred")
    writer.raw(f"{deferred}\n{deferred.replace(' mta ', ' mtb ')}\n".encode())
    removed = f"{datetime.now(UTC):%b %d %H:%M:%S} mtb postfix/qmgr[1]: 4jWcPQ00: removed\n"
    follow(writer.path, "--once")
    writer.raw(removed.encode())
    follow(writer.path, "--once")
    assert list(PostfixQueueEntry.objects.values_list("host", flat=True)) == ["mta"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "mta-9"], "no source named 'mta-9'.*Sources: mta-1"),
        ([], "--source NAME"),
        (["--source", "mta-1", "--timezone", "Mars/Olympus"], "no time zone"),
        (["--source", "mta-1", "--ip", "x=1.2.3"], "not an IPv4 or IPv6 address"),
        (["--source", "mta-1", "--ip", "1.2.3.4"], "SYSLOGNAME=IP"),
        (["--source", "mta-1", "--batch", "0"], "number of lines"),
        (["--post", "https://x.example"], "--token-file"),
        (["--post", "ftp://x.example", "--token-file", "t"], "no URL"),
    ],
)
def test_mistakes_on_the_command_line_are_explained(
    mta: Source, writer: Writer, options: list[str], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("follow_postfix", str(writer.path), "--once", *options)


def test_a_missing_file_and_an_inactive_source_are_explained(mta: Source, writer: Writer) -> None:
    with pytest.raises(CommandError, match="There is no file"):
        follow(writer.path.with_name("none"), "--once")
    mta.is_active = False
    mta.save()
    writer.raw(f"{delivery(0)}\n".encode())
    with pytest.raises(CommandError, match="not active"):
        follow(writer.path, "--once")

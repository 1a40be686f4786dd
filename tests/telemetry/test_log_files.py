"""No line of a log is lost or read twice, whatever rotation does."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from telemetry.growing_file import LONGEST_LINE, Position
from telemetry.log_files import LogFile

pytestmark = pytest.mark.one_database
_NUMBERED = re.compile(r"mail\.log\.\d+")


class Writer:
    """Writes numbered lines, and rotates as logrotate does."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "mail.log"
        self.path.touch()
        self.written: list[bytes] = []

    def write(self, count: int = 1) -> None:
        with self.path.open("ab") as file:
            for _ in range(count):
                line = b"line %d of the log" % len(self.written)
                self.written.append(line)
                file.write(line + b"\n")

    def raw(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)

    def _make_room(self) -> None:
        numbers = [int(path.suffix[1:]) for path in self.path.parent.iterdir() if _NUMBERED.fullmatch(path.name)]
        for number in sorted(numbers, reverse=True):
            Path(f"{self.path}.{number}").rename(f"{self.path}.{number + 1}")

    def rename(self) -> None:
        self._make_room()
        self.path.rename(f"{self.path}.1")
        self.path.touch()

    def rename_by_date(self) -> None:
        day = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=len(list(self.path.parent.iterdir())))
        self.path.rename(f"{self.path}-{day:%Y%m%d}")
        self.path.touch()

    def copy_and_truncate(self) -> None:
        self._make_room()
        shutil.copyfile(self.path, f"{self.path}.1")
        os.truncate(self.path, 0)


Rotate = Callable[[Writer], None]
rotations = pytest.mark.parametrize("rotate", [Writer.rename, Writer.rename_by_date, Writer.copy_and_truncate])


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


def drain(log: LogFile, most: int = 7) -> list[bytes]:
    found: list[bytes] = []
    while lines := log.read(most):
        assert len(lines) <= most
        found += lines
    return found


def reopened(writer: Writer, position: Position | None) -> LogFile:
    return LogFile(writer.path, position, stored_at=datetime.now(UTC))


def test_lines_are_read_once_as_they_come(writer: Writer) -> None:
    with LogFile(writer.path) as log:
        for _ in range(3):
            writer.write(20)
            assert drain(log) == writer.written[-20:]
            assert drain(log) == []


@rotations
def test_a_running_reader_follows_a_rotation(writer: Writer, rotate: Rotate) -> None:
    writer.write(10)
    with LogFile(writer.path) as log:
        found = log.read(4)
        rotate(writer)
        found += drain(log)
        writer.write(3)
        found += drain(log)
        assert found == writer.written


@rotations
def test_a_reader_that_slept_through_several_rotations_reads_every_file_in_order(
    writer: Writer, rotate: Rotate
) -> None:
    writer.write(10)
    with LogFile(writer.path) as log:
        found = log.read(4)
        for _ in range(4):
            rotate(writer)
            writer.write(5)
        found += drain(log)
        assert found == writer.written


@rotations
@pytest.mark.parametrize("times", [0, 1, 3])
def test_a_restart_goes_on_at_the_stored_position(writer: Writer, rotate: Rotate, times: int) -> None:
    writer.write(10)
    with LogFile(writer.path) as log:
        found = log.read(4)
        position = log.position
    writer.write(2)
    for _ in range(times):
        rotate(writer)
        writer.write(5)
    with reopened(writer, position) as log:
        assert not log.lost
        assert found + drain(log) == writer.written


@rotations
def test_nothing_is_lost_when_rotation_comes_before_the_first_line_was_read(writer: Writer, rotate: Rotate) -> None:
    with LogFile(writer.path) as log:
        position, stored_at = log.position, datetime.now(UTC)
    for _ in range(2):
        writer.write(5)
        rotate(writer)
    writer.write(1)
    with LogFile(writer.path, position, stored_at=stored_at) as log:
        assert drain(log) == writer.written


def test_the_old_file_is_read_on_until_the_new_one_has_a_line(writer: Writer) -> None:
    with LogFile(writer.path) as log, writer.path.open("ab") as still_open:
        writer.rename()
        assert drain(log) == []
        still_open.write(b"written before the logger was told\n")
        still_open.flush()
        assert drain(log) == [b"written before the logger was told"]
        writer.write(1)
        assert drain(log) == writer.written


def test_a_gap_without_any_file_is_waited_out(writer: Writer) -> None:
    writer.write(2)
    with LogFile(writer.path) as log:
        writer.path.rename(f"{writer.path}.1")
        assert drain(log) == writer.written
        writer.write(2)
        assert drain(log) == writer.written[2:]


def test_a_deleted_file_is_read_to_its_end_and_the_next_one_follows(writer: Writer) -> None:
    writer.write(5)
    with LogFile(writer.path) as log:
        found = log.read(2)
        writer.path.unlink()
        writer.write(3)
        assert found + drain(log) == writer.written


def test_a_truncated_file_is_read_from_its_start(writer: Writer) -> None:
    writer.write(5)
    with LogFile(writer.path) as log:
        drain(log)
        os.truncate(writer.path, 0)
        writer.write(2)
        assert drain(log) == writer.written[5:]


@pytest.mark.parametrize("running", [True, False])
def test_a_file_that_was_rewritten_to_a_greater_length_is_noticed(writer: Writer, running: bool) -> None:
    writer.write(5)
    log = LogFile(writer.path)
    drain(log)
    position = log.position
    if not running:
        log.__exit__()
    writer.path.write_bytes(b"another log\n" * 50)
    if not running:
        log = reopened(writer, position)
        assert log.lost
    assert drain(log, 100) == [b"another log"] * 50
    log.__exit__()


def test_another_file_with_the_old_inode_is_not_taken_for_it(writer: Writer) -> None:
    writer.write(5)
    with LogFile(writer.path) as log:
        drain(log)
        old = log.position
    assert old is not None
    writer.path.write_bytes(b"a file of another name and content, longer than the old one was: 1\n" * 9)
    with reopened(writer, old) as log:
        assert log.lost
        assert len(drain(log, 100)) == 9


def test_a_lost_file_is_said_and_the_files_after_it_are_read(writer: Writer) -> None:
    writer.write(5)
    with LogFile(writer.path) as log:
        drain(log)
        position, stored_at = log.position, datetime.now(UTC)
    writer.rename()
    Path(f"{writer.path}.1").unlink()
    writer.write(3)
    writer.rename()
    writer.write(1)
    with LogFile(writer.path, position, stored_at=stored_at) as log:
        assert log.lost
        assert drain(log) == writer.written[5:]


def test_compressed_files_and_other_logs_beside_it_are_left_alone(writer: Writer) -> None:
    writer.write(5)
    with LogFile(writer.path) as log:
        found = drain(log)
        for name in ("mail.log.2.gz", "mail.log.err", "mail.log-debug", "mail.login.1", "mail.log.1~"):
            (writer.path.parent / name).write_text("no line of ours\n")
        (writer.path.parent / "mail.log.d").mkdir()
        writer.rename()
        writer.write(3)
        assert found + drain(log) == writer.written


def test_a_half_written_line_waits_for_its_newline(writer: Writer) -> None:
    with LogFile(writer.path) as log:
        writer.raw(b"whole\nhal")
        assert drain(log) == [b"whole"]
        assert (log.position.offset if log.position else None) == 6
        writer.raw(b"f\n")
        assert drain(log) == [b"half"]


def test_the_unfinished_last_line_of_a_finished_file_is_read(writer: Writer) -> None:
    with LogFile(writer.path) as log:
        writer.raw(b"whole\ncut off by a crash")
        assert drain(log) == [b"whole"]
        writer.rename()
        writer.write(1)
        assert drain(log) == [b"cut off by a crash", *writer.written]


def test_a_line_without_end_is_skipped_and_moves_the_position_only_when_it_is_over(writer: Writer) -> None:
    with LogFile(writer.path) as log:
        writer.write(1)
        drain(log)
        before = log.position
        for _ in range(3):
            writer.raw(b"x" * LONGEST_LINE)
            assert drain(log) == []
            assert log.position == before
        writer.raw(b"x\n")
        writer.write(2)
        assert drain(log) == writer.written[1:]
    with reopened(writer, before) as log:
        assert drain(log) == writer.written[1:]


def test_a_line_of_the_greatest_length_is_read(writer: Writer) -> None:
    with LogFile(writer.path) as log:
        writer.raw(b"y" * (LONGEST_LINE - 1) + b"\n")
        assert [len(line) for line in drain(log)] == [LONGEST_LINE - 1]


def test_a_carriage_return_ends_no_line(writer: Writer) -> None:
    with LogFile(writer.path) as log:
        writer.raw(b"a\rb\x0bc\n\nd\r\n")
        assert drain(log) == [b"a\rb\x0bc", b"", b"d\r"]


def test_from_the_end_begins_behind_the_last_complete_line(writer: Writer) -> None:
    writer.write(30_000)
    writer.raw(b"half")
    with LogFile(writer.path, at_end=True) as log:
        assert log.behind == 4
        position = log.position
        writer.raw(b" and half\n")
        assert drain(log) == [b"half and half"]
    with reopened(writer, position) as log:
        assert drain(log) == [b"half and half"]


def test_without_a_file_there_is_nothing_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LogFile(tmp_path / "none.log")


@rotations
@pytest.mark.parametrize("seed", range(20))
def test_any_mix_of_writing_rotating_reading_and_restarting_reads_each_line_once(
    writer: Writer, rotate: Rotate, seed: int
) -> None:
    chance = random.Random(seed)
    writer.write(1)
    found: list[bytes] = []
    log = LogFile(writer.path)
    position, stored_at = log.position, datetime.now(UTC)
    for _ in range(150):
        match chance.choice("wwwrrRs"):
            case "w":
                writer.write(chance.randint(1, 9))
            case "r":
                lines = log.read(chance.randint(1, 12))
                if lines:
                    found, position, stored_at = found + lines, log.position, datetime.now(UTC)
            case "R":
                if writer.path.stat().st_size:  # as logrotate's notifempty
                    rotate(writer)
            case "s":
                log.__exit__()
                log = LogFile(writer.path, position, stored_at=stored_at)
    log.__exit__()
    log = LogFile(writer.path, position, stored_at=stored_at)
    found += drain(log)
    log.__exit__()
    assert found == writer.written

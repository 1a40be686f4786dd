"""``manage.py follow_postfix``: a Postfix log becomes events, here or on another machine."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, tzinfo
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, DjangoHelpFormatter

from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.following import CannotFollowError, Feed, Ledger, Stdin, Stop, follow
from telemetry.log_files import LogFile
from telemetry.models import Source
from telemetry.postfix_ledger import Database, setting
from telemetry.postfix_shipping import Remote, State, StoppedError, events_url

LOCAL_ZONE = Path("/etc/localtime")
EPILOG = """\
Reads what Postfix logs about outbound mail and records each delivery attempt once. It goes on where it stopped, through
rotation, truncation, restarts and kill -9; SIGTERM finishes the batch in hand.

Postfix does not log the sending IP: give each IP its own transport with its own syslog name (master.cf)

  out10 unix - - n - - smtp -o syslog_name=postfix-ip10 -o smtp_bind_address=203.0.113.10

and map the name in the source's IP mapping in the admin, or here: --ip postfix-ip10=203.0.113.10

examples:
  follow_postfix /var/log/mail.log --source mta-1
  journalctl -f -o short-iso -u 'postfix*' | python manage.py follow_postfix - --source mta-1
  follow_postfix /var/log/mail.log --ip postfix-ip10=203.0.113.10 \\
      --post https://standing.example.com --token-file /etc/good-standing/token
"""


def _ip_of_name(text: str) -> tuple[str, str]:
    name, equals, address = text.rpartition("=")
    try:
        if not equals or not name:
            raise ParseError("--ip", "needs the form SYSLOGNAME=IP")
        return name, clean.ip(address, "--ip")
    except ParseError as error:
        raise ArgumentTypeError(f"{text!r} {error.message}") from None


def _batch(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 20_000:
        raise ArgumentTypeError("is a number of lines, 1 to 20000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ArgumentTypeError("is a number of seconds") from None
    if not 0.01 <= seconds <= 3600:
        raise ArgumentTypeError("is a number of seconds, 0.01 to 3600")
    return seconds


class _Help(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Our options before Django's, and the epilog's lines as they stand."""


class Command(BaseCommand):
    """Follow a Postfix log."""

    help = "Follow a Postfix log and record what became of every outbound delivery attempt."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Keep the examples' lines as they are."""
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, formatter_class=_Help, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("file", metavar="FILE", help="the log, for example /var/log/mail.log; - is standard input")
        parser.add_argument("--source", metavar="NAME", help="the source to record under (not with --post)")
        parser.add_argument(
            "--ip",
            metavar="SYSLOGNAME=IP",
            type=_ip_of_name,
            action="append",
            default=[],
            help="a transport's sending IP, before what the source's IP mapping says; may be given several times",
        )
        parser.add_argument(
            "--timezone",
            metavar="ZONE",
            help="of time stamps that carry none, such as Europe/Berlin (default: this machine's)",
        )
        parser.add_argument("--once", action="store_true", help="read what is there now, then end")
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--from-start", action="store_true", help="at the first time read the whole file (default)")
        where.add_argument(
            "--from-end", action="store_true", help="at the first time begin with what comes from now on"
        )
        parser.add_argument("--batch", metavar="N", type=_batch, default=2000, help="most lines in one go (2000)")
        parser.add_argument("--interval", metavar="S", type=_seconds, default=1.0, help="seconds between looks (1)")
        parser.add_argument("--post", metavar="URL", help="send the events to the Good Standing there instead")
        parser.add_argument("--token-file", metavar="FILE", type=Path, help="with --post: holds the source's token")
        parser.add_argument(
            "--state",
            metavar="FILE",
            type=Path,
            help="with --post: keeps position and queue ids between runs (default: in the data folder)",
        )

    def handle(self, *_: object, **options: Any) -> None:
        """Follow until asked to stop, or to the end of what is there."""
        path = None if options["file"] == "-" else Path(options["file"]).absolute()
        try:
            with Stop() as stop, _opened(path, options, stop) as (feed, ledger):
                follow(
                    feed,
                    ledger,
                    stop,
                    batch=options["batch"],
                    interval=options["interval"],
                    once=options["once"] and path is not None,
                    wake_on=0 if path is None else None,
                )
        except StoppedError:
            self.stderr.write("Stopped while events could not be sent; they are sent the next time.")
        except CannotFollowError as error:
            raise CommandError(str(error)) from None
        except ParseError as error:
            raise CommandError(f"IP mapping: {error}") from None
        except OSError as error:
            raise CommandError(f"{error.filename or path}: {error.strerror or error}") from None


@contextmanager
def _opened(path: Path | None, options: dict[str, Any], stop: Stop) -> Iterator[tuple[Feed, Ledger]]:
    """Feed and ledger as the options want them, the feed where the ledger's position is."""
    zone, ip_map = _zone(options["timezone"]), dict(options["ip"])
    if options["post"]:
        with _remote(path, options) as (url, state):
            ledger = Remote(url, options["token_file"], state, setting(zone, ip_map), stop)
            with _feed(path, state.position, state.stored_at, options) as feed:
                if state.stored_at is None and path is not None:
                    ledger.first_position(feed.position)
                yield feed, ledger
        return
    database = Database(_source(options), path=path, zone=zone, ip_map=ip_map)
    position, stored_at = database.begin()
    with _feed(path, position, stored_at, options) as feed:
        if position is None and feed.position is not None:
            database.first_position(feed.position)
        yield feed, database


@contextmanager
def _feed(path: Path | None, position: Any, stored_at: Any, options: dict[str, Any]) -> Iterator[Feed]:
    if path is None:
        yield Stdin()
        return
    if position is None and not path.exists():
        raise CannotFollowError(f"There is no file {path}.")
    with LogFile(path, position, stored_at=stored_at, at_end=options["from_end"]) as file:
        yield file


@contextmanager
def _remote(path: Path | None, options: dict[str, Any]) -> Iterator[tuple[str, State]]:
    if options["token_file"] is None:
        raise CannotFollowError("--post needs --token-file, a file that holds the source's token and nothing else.")
    if options["source"]:
        raise CannotFollowError("With --post the token says which source it is; leave --source out.")
    url, followed = events_url(options["post"]), str(path or "-")
    name = sha256(f"{followed}\n{url}".encode()).hexdigest()[:16]
    state = State(options["state"] or settings.DATA_DIR / f"follow-{name}.json", log_path=followed, url=url)
    try:
        yield url, state
    finally:
        state.close()


def _source(options: dict[str, Any]) -> Source:
    if not options["source"]:
        raise CannotFollowError("Say which source the log belongs to: --source NAME")
    source = Source.objects.filter(name=options["source"]).first()
    if source is None:
        known = ", ".join(Source.objects.order_by("name").values_list("name", flat=True)[:20]) or "none yet"
        raise CannotFollowError(
            f"There is no source named {options['source']!r}. Make it in the admin (kind postfix). Sources: {known}."
        )
    return source


def _zone(name: str | None) -> tzinfo:
    """The zone named, else this machine's; from its file, because Django sets this process itself to UTC."""
    if name is None:
        if not LOCAL_ZONE.exists():
            return UTC
        with LOCAL_ZONE.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise CannotFollowError(f"{name!r} is no time zone that this machine knows, such as Europe/Berlin.") from None

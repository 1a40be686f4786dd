"""The Postfix services as a process: protocol, exact caps across a kill -9, a fresh book, and a database that is away."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import House, house, until
from tests.servers import Postgres, free_port

SHELL = """
from django.contrib.auth.models import User
from django.utils import timezone
from reputation import breaker_acts
from reputation.domain.breaker_policy import Scope
from reputation.models import *
from reputation.sending_policies import change_sending_policy
policy = SendingPolicy.objects.get(pool__is_default=True)
user, _ = User.objects.get_or_create(username="ops")
"""


class Asker:
    """One connection of an smtpd."""

    def __init__(self, port: int) -> None:
        self.wire = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.wire.makefile("rb")

    def ask(self, sender: str = "news@shop.example", recipient: str = "a@gmail.com", **more: str) -> str:
        """The action that Postfix is told."""
        told = {"request": "smtpd_access_policy", "protocol_state": "RCPT", "sender": sender, "recipient": recipient}
        lines = [f"{name}={value}\n" for name, value in (told | {"recipient_count": "0"} | more).items()]
        self.wire.sendall("".join([*lines, "\n"]).encode())
        action, empty = self.file.readline(), self.file.readline()
        if not action:
            raise ConnectionError("closed")
        assert empty == b"\n"
        return action.decode().rstrip("\n").removeprefix("action=")

    def close(self) -> None:
        self.file.close()
        self.wire.close()


def route(port: int, name: str, key: str) -> str:
    """The answer to one socketmap lookup."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        question = f"{name} {key}".encode()
        wire.sendall(b"%d:%s," % (len(question), question))
        file = wire.makefile("rb")
        length = b""
        while (letter := file.read(1)) != b":":
            length += letter
        return file.read(int(length)).decode()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as made:
        made.environment |= {
            "GS_POLICYD_LISTEN": f"127.0.0.1:{free_port()}",
            "GS_SOCKETMAP_LISTEN": f"127.0.0.1:{free_port()}",
        }
        yield made


def port_of(home: House, name: str = "POLICYD") -> int:
    return int(home.environment[f"GS_{name}_LISTEN"].rpartition(":")[2])


def start(home: House) -> None:
    """Start the service and wait until it answers."""
    home.start("policyd")

    def answers() -> bool:
        assert home.processes["policyd"].poll() is None, home.logs()
        try:
            Asker(port_of(home)).close()
        except OSError:
            return False
        return True

    until(answers, seconds=30, what="policyd listens")


def in_house(home: House, code: str) -> None:
    """Run Python in the house."""
    home.manage("shell", "--no-imports", "-c", SHELL + code)


def change(home: House, **values: Any) -> None:
    in_house(home, f"change_sending_policy(policy, {values!r}, user=None, reason='test')")


def test_a_pause_and_its_end_reach_postfix_within_a_second_or_so(home: House) -> None:
    change(home, mode="enforce")
    start(home)
    asker = Asker(port_of(home))
    assert asker.ask() == "DUNNO"
    in_house(
        home,
        "breaker_acts.open_by_hand(Scope('domain', 'shop.example', 'google'), reason='a “bad” list', user=user, now=timezone.now())",
    )
    told = until(lambda: (answer := asker.ask()) != "DUNNO" and answer, seconds=3, what="the pause is known")
    assert told.startswith("DEFER_IF_PERMIT 4.7.1 Mail of shop.example at google is paused:")
    assert 'a "bad" list' in told
    assert told.isascii()
    # Other providers, the null sender and postmaster are not touched.
    assert asker.ask(recipient="a@yahoo.com") == "DUNNO"
    assert asker.ask(sender="") == "DUNNO"
    assert asker.ask(recipient="postmaster@gmail.com") == "DUNNO"
    change(home, mode="warn")
    told = until(lambda: (answer := asker.ask()).startswith("WARN ") and answer, seconds=3, what="the mode is known")
    assert "shop.example" in told
    change(home, mode="observe")
    until(lambda: asker.ask() == "DUNNO", seconds=3, what="the mode is known")
    asker.close()
    assert home.stop() == {"policyd": 0}, home.logs()
    counted = home.manage(
        "shell",
        "--no-imports",
        "-c",
        "from reputation.models import *\nprint({(r.mode, r.action) for r in PermitMinute.objects.all()})",
    )
    for pair in (("enforce", "allow"), ("enforce", "defer"), ("warn", "defer"), ("observe", "defer")):
        assert str(pair) in counted


def test_only_the_chosen_state_counts(home: House) -> None:
    change(home, mode="enforce", domain_limit_per_hour=2)
    start(home)
    asker = Asker(port_of(home))
    for _ in range(5):
        assert asker.ask(protocol_state="DATA", recipient="", recipient_count="2") == "DUNNO"
    assert [asker.ask()[:5] for _ in range(3)] == ["DUNNO", "DUNNO", "DEFER"]
    asker.close()
    home.stop()


def test_bytes_may_arrive_as_they_like_and_nonsense_closes_the_connection(home: House) -> None:
    start(home)
    request = b"request=smtpd_access_policy\nsender=a@b.example\nrecipient=c@d.example\nprotocol_state=RCPT\n\n"
    asker = Asker(port_of(home))
    for byte in (request[n : n + 1] for n in range(len(request))):
        asker.wire.sendall(byte)
    assert asker.file.readline() == b"action=DUNNO\n"
    asker.file.readline()
    asker.wire.sendall(request * 50)  # many at once: each is answered, in order
    assert [asker.file.readline() for _ in range(100)] == [b"action=DUNNO\n", b"\n"] * 50
    for nonsense in (b"GET / HTTP/1.1\n\n", b"request=other\n\n", b"x=" + b"y" * 40_000):
        other = Asker(port_of(home))
        other.wire.sendall(nonsense)
        assert other.file.read() == b""
        other.close()
    assert asker.ask() == "DUNNO"  # the others notice nothing
    for nonsense in (b"x:abc,", b"99999999:", b"3:abcd"):
        with socket.create_connection(("127.0.0.1", port_of(home, "SOCKETMAP")), timeout=20) as wire:
            wire.sendall(nonsense)
            assert wire.recv(10) == b""
    asker.close()
    home.stop()


def test_of_a_thousand_asked_by_sixteen_on_a_warm_up_day_of_a_hundred_exactly_those_pass_also_across_a_kill(
    home: House,
) -> None:
    """The service is killed half way and started again; who was cut off asks anew. Redis keeps the budgets here."""
    _hundred_of_a_thousand(home)


def test_the_same_with_budgets_in_the_database(home: House) -> None:
    home.environment["REDIS_URL"] = ""
    _hundred_of_a_thousand(home)


def _hundred_of_a_thousand(home: House) -> None:
    """On the first day of the default warm-up, whose volume is 100 recipients."""
    change(home, mode="enforce")
    in_house(
        home,
        "from reputation import warmup_acts\n"
        "warmup_acts.start('domain', 'shop.example', WarmupTemplate.objects.get(name='default'),"
        " reason='a new domain', user=user, now=timezone.now())",
    )
    start(home)
    told: list[str] = []
    cut_off: list[int] = []
    lock, left = threading.Lock(), iter(range(1000))
    half, again = threading.Event(), threading.Event()

    def client() -> None:
        asker: Asker | None = Asker(port_of(home))
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                break
            while True:
                try:
                    asker = asker or Asker(port_of(home))
                    answer = asker.ask(recipient=f"r{number}@gmail.com")
                    break
                except (OSError, ConnectionError):
                    # An ask whose answer was lost may have been spent: it can only be one too few, never too many.
                    asker = None
                    with lock:
                        cut_off.append(number)
                    again.wait(30)
            with lock:
                told.append(answer)
                if len(told) == 50:
                    half.set()
        if asker is not None:
            asker.close()

    clients = [threading.Thread(target=client) for _ in range(16)]
    for thread in clients:
        thread.start()
    assert half.wait(60)
    home.kill("policyd")
    start(home)
    again.set()
    for thread in clients:
        thread.join(120)
    passed = sum(answer == "DUNNO" for answer in told)
    assert len(told) == 1000
    assert 100 - len(set(cut_off)) <= passed <= 100, (passed, cut_off)
    home.stop()
    spent = home.manage(
        "shell", "--no-imports", "-c", "from reputation.models import *\nprint(Budget.objects.get().spent)"
    )
    assert int(spent) == 100, home.logs()


def test_the_socketmap_chooses_the_transport_and_leaves_out_what_is_paused(home: House) -> None:
    change(home, mode="enforce")
    in_house(
        home,
        "SendingIP.objects.create(ip='192.0.2.1', transport='ip1'); SendingIP.objects.create(ip='192.0.2.2', transport='ip2:[relay.example]:587')",
    )
    start(home)
    port = port_of(home, "SOCKETMAP")
    people = [f"r{n}@gmail.com" for n in range(60)]
    before = {who: route(port, "recipient", who) for who in people}
    assert set(before.values()) == {"OK ip1:", "OK ip2:[relay.example]:587"}
    in_house(
        home,
        "breaker_acts.open_by_hand(Scope('ip', '192.0.2.1', 'google'), reason='blocked', user=user, now=timezone.now())",
    )
    until(
        lambda: (
            route(port, "recipient", people[0]) == "OK ip2:[relay.example]:587"
            and all(route(port, "recipient", who) == "OK ip2:[relay.example]:587" for who in people)
        ),
        seconds=3,
        what="google leaves by the other IP",
    )
    assert {route(port, "recipient", f"r{n}@yahoo.com") for n in range(60)} == set(before.values())
    assert route(port, "sender", "news@shop.example").startswith("OK ip")
    in_house(
        home,
        "breaker_acts.open_by_hand(Scope('ip', '192.0.2.2', 'google'), reason='blocked', user=user, now=timezone.now())",
    )
    held = until(
        lambda: (answer := route(port, "recipient", people[0])).startswith("OK retry:") and answer,
        seconds=3,
        what="mail waits",
    )
    assert held.startswith("OK retry:4.7.1 Mail of 192.0.2.")
    assert route(port, "recipient-nowhere", "a@b.example").startswith("PERM")
    assert route(port, "other", "a@b.example").startswith("PERM")
    home.stop()


def test_without_a_transport_the_socketmap_has_no_say(home: House) -> None:
    in_house(home, "SendingIP.objects.create(ip='192.0.2.1')")
    start(home)
    assert route(port_of(home, "SOCKETMAP"), "recipient", "a@gmail.com") == "NOTFOUND "
    home.stop()


@pytest.mark.one_database
def test_while_postgres_is_away_the_last_book_answers_and_says_so(home: House) -> None:
    server = Postgres(durable=True).start()
    try:
        home.environment["DATABASE_URL"] = server.url
        home.manage("migrate", "--verbosity=0")
        change(home, mode="enforce")
        in_house(
            home,
            "breaker_acts.open_by_hand(Scope('domain', 'shop.example', ''), reason='a bought list', user=user, now=timezone.now())",
        )
        start(home)
        asker = Asker(port_of(home))
        assert asker.ask().startswith("DEFER_IF_PERMIT")
        server.kill()
        told = until(
            lambda: (answer := asker.ask()).endswith("the database is away.)") and answer, seconds=10, what="it says so"
        )
        assert told.startswith("DEFER_IF_PERMIT 4.7.1 Mail of shop.example is paused:")
        assert asker.ask(sender="news@other.example") == "DUNNO"
        server.start()
        until(lambda: not asker.ask().endswith("the database is away.)"), seconds=20, what="the database is back")
        in_house(
            home, "breaker_acts.close_by_hand(Breaker.objects.get(), reason='over', user=user, now=timezone.now())"
        )
        until(lambda: asker.ask() == "DUNNO", seconds=5, what="the pause ends")
        asker.close()
        home.stop()
    finally:
        server.stop()


def test_a_port_that_is_taken_is_named_and_tried_again(home: House) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port_of(home)))
        taken.listen()
        process = home.start("policyd")
        until(lambda: "Cannot listen" in home.logs(), seconds=30, what="it says so")
        assert str(port_of(home)) in home.logs()
        with pytest.raises(subprocess.CalledProcessError) as failed:
            home.manage("policyd", "--listen", f"127.0.0.1:{port_of(home)}", "--socketmap", "off")
        assert "Cannot listen" in failed.value.stderr
    asker = until(lambda: _reached(home), seconds=20, what="the port is free and taken")
    assert asker.ask() == "DUNNO"
    asker.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def _reached(home: House) -> Asker | None:
    try:
        return Asker(port_of(home))
    except OSError:
        return None


def test_switched_off_it_waits_to_be_stopped(home: House) -> None:
    home.environment |= {"GS_POLICYD_LISTEN": "off", "GS_SOCKETMAP_LISTEN": "off"}
    process = home.start("policyd")
    until(lambda: "switched off" in home.logs(), seconds=30, what="it says so")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0

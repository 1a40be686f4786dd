"""What open breakers hold back is suspended at KumoMTA, against a server that behaves as KumoMTA's admin API does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from reputation import breaker_acts
from reputation.domain.breaker_policy import Scope
from reputation.enforcement import kumomta
from reputation.enforcement.kumomta_api import KumoError
from reputation.models import Breaker, BreakerEvent, KumoAct, KumoServer, Pool, PoolDomain, SendingIP, SendingPolicy
from reputation.sending_policies import new_policy
from reputation.tasks import apply_to_kumomta, clean_up
from telemetry.models import Lease
from tests.reputation.scripted_kumomta import READY, SUSPEND, Kumo, running
from tests.telemetry.metrics_page import reply

pytestmark = pytest.mark.django_db
SHOP, IP = "shop.example", "203.0.113.10"
GMAIL = "(alt1|alt2|alt3|alt4)?.gmail-smtp-in.l.google.com@smtp_client"
OUTLOOK = "outlook-com.olc.protection.outlook.com@smtp_client"


@pytest.fixture
def kumo(settings: Any) -> Iterator[Kumo]:
    settings.ALLOW_PRIVATE_URLS = True
    with running() as kumo:
        yield kumo


@pytest.fixture
def server(kumo: Kumo) -> KumoServer:
    SendingPolicy.objects.update(mode="enforce")
    return KumoServer.objects.create(name="mta-1", url=kumo.url, named_by="tenant", egress_sources={"ip-1": IP})


@pytest.fixture
def otto(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_user("otto", is_staff=True)


@pytest.fixture
def pause(otto: User) -> Any:
    def opened(kind: Any, sender: str, provider: str = "", *, until: datetime | None = None) -> Breaker:
        scope = Scope(kind, sender, provider)
        return breaker_acts.open_by_hand(scope, reason="complaints", user=otto, now=timezone.now(), expires_at=until)

    return opened


def run(later: timedelta = timedelta()) -> dict[str, kumomta.Applied]:
    return kumomta.apply_all(now=timezone.now() + later)


def test_an_open_breaker_is_suspended_by_one_run_and_the_next_changes_nothing(
    kumo: Kumo, server: KumoServer, pause: Any
) -> None:
    pause("domain", SHOP)
    assert run()["mta-1"].suspended == 1
    assert kumo.suspended() == [{"tenant": SHOP}]
    assert kumo.entries[SUSPEND][0]["reason"] == f"Good Standing: {SHOP}: complaints"
    told = list(kumo.asked)
    assert run()["mta-1"].skipped
    again = run(timedelta(seconds=10))["mta-1"]
    assert (again.made, again.skipped) == (0, False)
    assert kumo.asked == told, "the second run makes no call"


def test_a_closed_breaker_is_lifted(kumo: Kumo, server: KumoServer, pause: Any, otto: User) -> None:
    breaker = pause("domain", SHOP)
    run()
    breaker_acts.close_by_hand(breaker, reason="cleaned", user=otto, now=timezone.now())
    assert run()["mta-1"].lifted == 1
    assert kumo.suspended() == []
    assert kumo.asked[-1][:2] == ("DELETE", SUSPEND)


def test_at_one_provider_its_recipient_domains_are_suspended(kumo: Kumo, server: KumoServer, pause: Any) -> None:
    KumoServer.objects.update(domain_names={SHOP: "customer-7"}, named_by="campaign")
    pause("domain", SHOP, "google")
    run()
    assert kumo.suspended() == [
        {"campaign": "customer-7", "domain": "gmail.com"},
        {"campaign": "customer-7", "domain": "googlemail.com"},
    ]


def test_an_ip_is_suspended_by_its_ready_queues_at_that_provider_alone(
    kumo: Kumo, server: KumoServer, pause: Any
) -> None:
    kumo.queues = [f"ip-1->{GMAIL}", f"ip-1->{OUTLOOK}", f"ip-2->{GMAIL}"]
    pause("ip", IP, "google")
    run()
    assert kumo.suspended(READY) == [{"name": f"ip-1->{GMAIL}"}]
    kumo.queues = []  # an idle queue is in no metric, and is still meant
    assert run(timedelta(seconds=10))["mta-1"].made == 0
    assert kumo.suspended(READY) == [{"name": f"ip-1->{GMAIL}"}]
    kumo.queues = [f"ip-1->{OUTLOOK}"]
    pause("ip", IP)
    run()
    assert kumo.suspended(READY) == [{"name": f"ip-1->{GMAIL}"}, {"name": f"ip-1->{OUTLOOK}"}]


def test_a_restarted_server_is_told_anew(kumo: Kumo, server: KumoServer, pause: Any) -> None:
    pause("domain", SHOP)
    run()
    kumo.restart()
    assert run(timedelta(seconds=10))["mta-1"].suspended == 1
    assert kumo.suspended() == [{"tenant": SHOP}]


def test_what_others_suspended_is_never_touched(kumo: Kumo, server: KumoServer, pause: Any, otto: User) -> None:
    kumo.handle("POST", SUSPEND, {"tenant": SHOP, "reason": "ours since Monday", "duration": "600s"})
    kumo.handle("POST", SUSPEND, {"domain": "yahoo.com", "reason": "a test", "duration": "9000s"})
    theirs = [dict(entry) for entry in kumo.entries[SUSPEND]]
    breaker = pause("domain", SHOP)
    run()
    breaker_acts.close_by_hand(breaker, reason="cleaned", user=otto, now=timezone.now())
    run()
    assert kumo.entries[SUSPEND] == theirs
    assert kumo.asked == []


def test_it_lasts_until_the_pause_ends_or_is_renewed_before_it_expires(
    kumo: Kumo, server: KumoServer, pause: Any
) -> None:
    def lasts() -> list[int]:
        return [int(body["duration"].removesuffix("s")) for _, _, body in kumo.asked]

    pause("domain", "short.example", until=timezone.now() + timedelta(minutes=10))
    pause("domain", "long.example")
    run()
    assert sorted(lasts()) == [pytest.approx(660, abs=2), 3600]
    kumo.clock = timedelta(minutes=5)
    assert run(kumo.clock)["mta-1"].made == 0
    kumo.clock = timedelta(minutes=31)
    renewed = run(kumo.clock)["mta-1"]
    assert (renewed.renewed, renewed.suspended) == (1, 0)
    assert [entry["tenant"] for entry in kumo.entries[SUSPEND]] == ["long.example"]


def test_every_call_has_its_row_with_what_was_answered(kumo: Kumo, server: KumoServer, pause: Any, otto: User) -> None:
    breaker = pause("domain", SHOP)
    run()
    made = KumoAct.objects.get()
    assert (made.act, made.method, made.path, made.status) == ("suspend", "POST", SUSPEND, 200)
    assert (made.kind, made.sender, made.provider) == ("domain", SHOP, "")
    assert made.answer_id == kumo.entries[SUSPEND][0]["id"]
    assert made.body == kumo.asked[0][2]
    assert made.breaker_event == BreakerEvent.objects.get().pk
    breaker_acts.close_by_hand(breaker, reason="cleaned", user=otto, now=timezone.now())
    run()
    lifted = KumoAct.objects.first()
    assert lifted is not None
    assert (lifted.act, lifted.sender, lifted.answer_id, lifted.status) == ("lift", SHOP, made.answer_id, 200)
    assert lifted.breaker_event == BreakerEvent.objects.latest("pk").pk
    with pytest.raises(TypeError):
        lifted.save()


@pytest.mark.parametrize("mode", ["observe", "warn"])
def test_a_pool_that_does_not_enforce_suspends_nothing(kumo: Kumo, server: KumoServer, pause: Any, mode: str) -> None:
    SendingPolicy.objects.update(mode=mode)
    pause("domain", SHOP)
    pause("ip", IP)
    run()
    assert kumo.asked == []


def test_each_scope_goes_by_its_own_pool(kumo: Kumo, server: KumoServer, pause: Any) -> None:
    SendingPolicy.objects.update(mode="observe")
    bulk = Pool.objects.create(name="bulk")
    new_policy(bulk)
    SendingPolicy.objects.filter(pool=bulk).update(mode="enforce")
    PoolDomain.objects.create(domain=SHOP, pool=bulk)
    SendingIP.objects.create(ip=IP, pool=bulk)
    kumo.queues = [f"ip-1->{GMAIL}"]
    for scope in (("domain", SHOP), ("domain", "other.example"), ("ip", IP)):
        pause(*scope)
    run()
    assert (kumo.suspended(), kumo.suspended(READY)) == ([{"tenant": SHOP}], [{"name": f"ip-1->{GMAIL}"}])


def test_what_cannot_be_said_there_is_told(kumo: Kumo, server: KumoServer, pause: Any) -> None:
    KumoServer.objects.update(named_by="", egress_sources={})
    pause("domain", SHOP)
    pause("ip", IP)
    told = dict(run()["mta-1"].untold)
    assert "tenants or campaigns" in told[Scope("domain", SHOP)]
    assert IP in told[Scope("ip", IP)]
    assert kumo.asked == []


def test_a_dead_server_stops_no_other_and_its_outage_is_one_row(kumo: Kumo, server: KumoServer, pause: Any) -> None:
    KumoServer.objects.create(name="a-dead-one", url="http://127.0.0.1:1", named_by="tenant")
    KumoServer.objects.update(is_active=True)
    pause("domain", SHOP)
    done = run()
    assert done["a-dead-one"].failed == 1
    assert kumo.suspended() == [{"tenant": SHOP}]
    assert run()["a-dead-one"].skipped, "not asked again at once"
    for minutes in (1, 2, 3):
        assert run(timedelta(minutes=minutes))["a-dead-one"].failed == 1
    row = KumoServer.objects.get(name="a-dead-one")
    assert row.failures == 4
    assert "connection failed" in row.error
    assert KumoAct.objects.filter(server=row).count() == 1


def test_an_answer_that_is_an_error_is_written_down_and_tried_again(kumo: Kumo, server: KumoServer, pause: Any) -> None:
    def broken(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "GET":
            reply(handler, 200, b"[]")
        else:
            reply(handler, 500, b"out of memory")

    kumo.answer = broken
    pause("domain", SHOP)
    assert run()["mta-1"].failed == 1
    row = KumoAct.objects.get()
    assert (row.act, row.status, row.answer_id) == ("suspend", 500, "")
    assert "out of memory" in row.error
    kumo.answer = None
    assert run(timedelta(seconds=20))["mta-1"].suspended == 1


@pytest.mark.parametrize(
    "answer",
    [b"<html>", b"{}", b'[{"id": 7}]', b'["x"]', b"[" * 100_000],
)
def test_an_answer_of_something_else_than_kumomta_is_an_error_and_no_exception(
    kumo: Kumo, server: KumoServer, pause: Any, answer: bytes
) -> None:
    kumo.answer = lambda handler: reply(handler, 200, answer)
    pause("domain", SHOP)
    assert run()["mta-1"].failed == 1
    assert KumoServer.objects.get().error


def test_a_server_without_anything_to_do_is_rarely_called_and_without_servers_nothing_is_read(
    kumo: Kumo, server: KumoServer, django_assert_num_queries: Any
) -> None:
    run()
    reads = kumo.reads
    assert run()["mta-1"].skipped
    assert run(timedelta(seconds=20))["mta-1"].skipped
    assert run(timedelta(seconds=50))["mta-1"].skipped
    assert kumo.reads == reads
    assert not run(timedelta(seconds=61))["mta-1"].skipped
    KumoServer.objects.update(is_active=False)
    with django_assert_num_queries(1):
        assert run() == {}


def test_the_login_opens_the_door_and_is_nowhere_to_be_read(
    kumo: Kumo, server: KumoServer, pause: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    kumo.login = "standing:a-long-secret"
    pause("domain", SHOP)
    assert run()["mta-1"].failed == 1
    assert "401" in KumoServer.objects.get().error
    server.refresh_from_db()
    server.login = kumo.login
    server.save()
    assert run(timedelta(minutes=2))["mta-1"].suspended == 1
    # A server that repeats what it was sent gives nothing away either.
    kumo.answer = lambda handler: reply(handler, 500, f"bad password a-long-secret {kumo.basic}".encode())
    run(timedelta(minutes=4))
    stored = [str(row) for table in (KumoAct, KumoServer) for row in table.objects.values()]
    kept = "".join(stored) + caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert "…" in KumoServer.objects.get().error
    assert "a-long-secret" not in kept
    assert kumo.basic not in kept


def test_a_person_tries_the_connection(kumo: Kumo, server: KumoServer) -> None:
    kumo.queues = [f"ip-1->{GMAIL}"]
    assert "1 ready queues" in kumomta.try_connection(server, now=timezone.now())
    kumo.answer = lambda handler: reply(handler, 403, b"no")
    with pytest.raises(KumoError, match="trusted_hosts"):
        kumomta.try_connection(server, now=timezone.now())
    assert list(KumoAct.objects.values_list("act", "status")) == [("test", 403), ("test", 200)]


def test_the_command_applies_and_shows(
    kumo: Kumo, server: KumoServer, pause: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    kumo.handle("POST", SUSPEND, {"domain": "yahoo.com", "reason": "a test", "duration": "9000s"})
    pause("domain", SHOP)
    pause("ip", "203.0.113.99")
    call_command("kumomta", "show")
    shown = capsys.readouterr().out
    assert f"tenant={SHOP}  (missing)" in shown
    assert "domain=yahoo.com  (not ours)  a test" in shown
    assert "203.0.113.99 cannot be paused there" in shown
    assert kumo.asked == []
    call_command("kumomta", "apply", "--server", "mta-1")
    assert "1 suspended, 0 renewed, 0 lifted, 0 failed" in capsys.readouterr().out
    kumo.answer = lambda handler: reply(handler, 500, b"no")
    for verb in ("apply", "show"):
        with pytest.raises(CommandError, match="mta-1"):
            call_command("kumomta", verb)
    KumoServer.objects.update(is_active=False)
    with pytest.raises(CommandError, match="no active"):
        call_command("kumomta", "apply")


def test_the_task_takes_its_turn_and_the_clean_up_takes_old_acts(kumo: Kumo, server: KumoServer, pause: Any) -> None:
    pause("domain", SHOP)
    apply_to_kumomta()
    assert kumo.suspended() == [{"tenant": SHOP}]
    KumoAct.objects.update(at=timezone.now() - timedelta(days=800))
    clean_up()
    assert not KumoAct.objects.exists()
    Lease.objects.filter(pk="apply to KumoMTA").update(held_until=timezone.now() + timedelta(minutes=1))
    kumo.restart()
    KumoServer.objects.update(checked_at=None)
    apply_to_kumomta()
    assert kumo.suspended() == []


def test_a_slow_server_gives_up_its_turn_and_goes_on_in_the_next(
    kumo: Kumo, server: KumoServer, pause: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1_000, 4))  # each call takes four seconds
    monkeypatch.setattr(kumomta, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    for number in range(5):
        pause("domain", f"sender{number}.example")
    first = run()["mta-1"]
    assert (first.suspended, first.left, first.failed) == (3, 2, 0)
    second = run()["mta-1"]
    assert (second.suspended, second.left) == (2, 0)
    assert len(kumo.suspended()) == 5
    assert run()["mta-1"].skipped

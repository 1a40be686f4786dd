"""Permits through the service and over HTTP: exact caps, the record, modes, pools, and what happens while stores are away."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import Error as DatabaseError
from django.db import connections
from django.test import Client

from reputation import breaker_acts, budgets, history, permits
from reputation.budgets import BudgetsAwayError, DatabaseStore, RedisStore, Spend
from reputation.domain.breaker_policy import Scope
from reputation.domain.permit import Action, Ask, Cap, Rule
from reputation.models import Budget, PermitMinute, Pool, PoolDomain, SendingIP, SendingPolicy
from reputation.permit_facts import Books
from reputation.permit_lane import PermitLane
from reputation.permit_record import Recorder
from reputation.permits import Desk
from reputation.sending_policies import change_sending_policy
from telemetry.models import SourceToken
from telemetry.tokens import revoke_token
from tests.servers import valkey

NOW = datetime(2026, 11, 21, 12, 34, 56, tzinfo=UTC)
NOON = NOW.replace(minute=0, second=0)
NEWS = Ask("news@shop.example", "someone@gmail.com")


def hour_cap(limit: int, sender: str = "shop.example", counted: int = 0) -> Cap:
    return Cap(Rule.WARM_UP, "domain", sender, "", NOON, NOON + timedelta(hours=1), limit, counted)


def enforce(**values: Any) -> None:
    """The default pool's policy, in force."""
    row = SendingPolicy.objects.get(pool__is_default=True)
    change_sending_policy(row, {"mode": "enforce", **values}, user=None, reason="test")
    permits.desk.cache_clear()


@pytest.fixture(params=["database", "redis"])
def store(request: pytest.FixtureRequest) -> Any:
    """Each place that budgets may be kept in."""
    if request.param == "database":
        yield DatabaseStore()
    else:
        with valkey() as url:
            yield RedisStore(url)


@pytest.mark.django_db
def test_several_caps_are_spent_together_or_not_at_all(store: Any) -> None:
    wide, narrow = hour_cap(100), hour_cap(3, "narrow.example")
    took = store.take([Spend(2, (wide, narrow)), Spend(2, (wide, narrow)), Spend(1, (narrow,)), Spend(98, (wide,))])
    assert [found and (found.key, found.spent) for found in took] == [None, (narrow.key, 2), None, None]
    assert store.take([Spend(1, (wide,))])[0].spent == 100


@pytest.mark.django_db
def test_what_others_counted_is_spent_already(store: Any) -> None:
    assert store.take([Spend(1, (hour_cap(10, counted=9),))]) == [None]
    assert store.take([Spend(1, (hour_cap(10, counted=9),))])[0].spent == 10
    assert store.take([Spend(1, (hour_cap(20, counted=15),)), Spend(5, (hour_cap(20),))])[1].spent == 16
    assert store.take([Spend(4, (hour_cap(20),))]) == [None]


@pytest.mark.django_db
def test_redis_counts_are_written_down_and_survive_a_redis_that_comes_back_empty() -> None:
    with valkey() as url:
        kept = RedisStore(url)
        assert kept.take([Spend(7, (hour_cap(10),))]) == [None]
        assert kept.write_down() == 1
        kept._client.flushall()
        level = budgets.levels(now=NOW)[hour_cap(10).key]
        assert level == 7
        assert kept.take([Spend(4, (hour_cap(10, counted=level),))])[0].spent == 7
    assert budgets.spent("domain", "shop.example", starts=NOON) == 7
    with pytest.raises(BudgetsAwayError):
        kept.take([Spend(1, (hour_cap(10),))])


@pytest.mark.django_db(transaction=True)
def test_of_a_thousand_asked_at_once_by_sixteen_exactly_a_hundred_pass(store: Any) -> None:
    """Two caps in either order, so that a store that locks in the order of the asks would deadlock."""
    caps = (hour_cap(100), hour_cap(100, "a.example"))
    passed: list[bool] = []
    lock = threading.Lock()
    left = iter(range(1000))

    def client(number: int) -> None:
        mine = caps if number % 2 else caps[::-1]
        while True:
            with lock:
                if next(left, None) is None:
                    break
            found = store.take([Spend(1, mine)])[0]
            with lock:
                passed.append(found is None)
        connections.close_all()

    clients = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert (len(passed), sum(passed)) == (1000, 100)


@pytest.mark.django_db
def test_old_budgets_are_cleaned_up() -> None:
    DatabaseStore().take([Spend(1, (hour_cap(10),))])
    assert budgets.clean_up(now=NOW) == 0
    assert budgets.clean_up(now=NOW + timedelta(days=8)) == 1
    assert not Budget.objects.exists()


@pytest.mark.django_db
def test_a_new_installation_observes_and_counts_what_it_would_have_held_back() -> None:
    user = User.objects.create(username="ops")
    breaker_acts.open_by_hand(Scope("domain", "shop.example", ""), reason="a bought list", user=user, now=NOW)
    answer = permits.ask([NEWS], now=NOW)[0]
    assert (answer.action, answer.verdict, answer.rule) == (Action.ALLOW, Action.DEFER, Rule.BREAKER)
    assert "a bought list" in answer.reason
    permits.desk().write_down()
    row = PermitMinute.objects.get()
    assert (row.action, row.mode, row.sending_domain, row.provider, row.recipients) == (
        "defer",
        "observe",
        "shop.example",
        "google",
        1,
    )
    assert not row.was_held_back


@pytest.mark.django_db
def test_the_record_adds_up_over_writes_and_names_no_recipient() -> None:
    desk = permits.desk()
    for _ in range(3):
        permits.ask([NEWS, Ask("a@other.example", "x@gmail.com", recipients=4)], now=NOW)
        desk.write_down()
    row = PermitMinute.objects.get()
    assert (row.asks, row.recipients, row.sending_domain) == (6, 15, "")
    assert "@" not in row.reason


@pytest.mark.django_db
def test_a_limit_holds_over_a_batch_and_the_rest_is_told_when_to_come_back() -> None:
    enforce(domain_limit_per_hour=10)
    answers = permits.ask([Ask("news@shop.example", f"r{n}@gmail.com") for n in range(12)], now=NOW)
    assert [answer.action for answer in answers] == [Action.ALLOW] * 10 + [Action.DEFER] * 2
    assert answers[-1].until == NOON + timedelta(hours=1)
    assert permits.ask([NEWS], now=NOON + timedelta(hours=1))[0].action is Action.ALLOW


@pytest.mark.django_db
def test_a_look_ahead_spends_and_records_nothing() -> None:
    enforce(domain_limit_per_hour=1)
    for _ in range(3):
        assert permits.ask([NEWS], now=NOW, spend=False)[0].action is Action.ALLOW
    permits.desk().write_down()
    assert not Budget.objects.exists()
    assert not PermitMinute.objects.exists()


@pytest.mark.django_db
def test_a_domains_pool_names_the_ips_and_a_spent_ip_hands_over() -> None:
    pool = Pool.objects.create(name="news")
    policy = SendingPolicy.objects.create(pool=pool)
    change_sending_policy(policy, {"mode": "enforce", "ip_limit_per_hour": 1}, user=None, reason="test")
    SendingIP.objects.create(ip="192.0.2.1", pool=pool)
    SendingIP.objects.create(ip="192.0.2.2", pool=pool)
    SendingIP.objects.create(ip="192.0.2.3")
    PoolDomain.objects.create(domain="shop.example", pool=pool)
    first, second, third = permits.ask([NEWS, NEWS, NEWS], now=NOW)
    assert set(first.ips) == {"192.0.2.1", "192.0.2.2"}
    assert second.ips == first.ips[1:]
    assert (third.action, third.pool) == (Action.DEFER, "news")


@pytest.mark.django_db
@pytest.mark.parametrize(("choice", "action"), [("open", Action.ALLOW), ("closed", Action.DEFER)])
def test_while_budgets_are_away_the_operator_has_chosen(choice: str, action: Action) -> None:
    enforce(domain_limit_per_hour=10, on_failure=choice)
    desk = Desk(Books(), RedisStore("redis://127.0.0.1:1/0"), Recorder())
    answer = desk.ask([NEWS], now=NOW)[0]
    assert (answer.action, answer.rule) == (action, Rule.CANNOT_KNOW)
    # What spends nothing is known as ever.
    assert desk.ask([Ask("<>", "x@gmail.com")], now=NOW)[0].rule is Rule.EXEMPT


@pytest.mark.django_db
def test_the_last_book_answers_while_the_database_is_away_and_says_so() -> None:
    enforce()
    user = User.objects.create(username="ops")
    breaker_acts.open_by_hand(Scope("domain", "shop.example", ""), reason="a bought list", user=user, now=NOW)
    books = Books()
    desk = Desk(books, DatabaseStore(), Recorder())
    assert "as of" not in desk.ask([NEWS], now=NOW)[0].reason.lower()

    def gone(**_: Any) -> Any:
        raise DatabaseError("gone")

    books._read = gone
    books.forget()
    answer = desk.ask([NEWS], now=NOW)[0]
    assert answer.action is Action.DEFER
    assert "the database is away" in answer.reason


@pytest.mark.django_db
def test_asked_over_http_by_a_source(client: Client, token: str) -> None:
    enforce(domain_limit_per_hour=2)
    body = {"sender": "news@shop.example", "recipient": "someone@gmail.com"}
    sent = {"content_type": "application/json", "headers": {"Authorization": f"Bearer {token}"}}
    answers = [client.post("/api/permits", body, **sent) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    told = [answer.json() for answer in answers]
    assert [entry["action"] for entry in told] == ["allow", "allow", "defer"]
    assert told[2]["rule"] == "base_limit"
    assert 0 < told[2]["retry_after"] <= 3600
    assert told[2]["provider"] == "google"
    assert [voice["rule"] for voice in told[2]["voices"]] == ["base_limit"]


@pytest.mark.django_db
def test_a_batch_over_http_answers_each_in_order(client: Client, token: str) -> None:
    enforce(domain_limit_per_hour=5)
    asks = [{"sending_domain": "shop.example", "recipients": n} for n in (3, 3, 2)]
    sent = {"content_type": "application/json", "headers": {"Authorization": f"Bearer {token}"}}
    answer = client.post("/api/permits", {"permits": asks}, **sent)
    assert [entry["action"] for entry in answer.json()["permits"]] == ["allow", "defer", "allow"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "sender"),
        ({"sender": "a@b.example", "sending_domain": "b.example"}, "sender"),
        ({"sender": "a@b.example", "recipients": 0}, "recipients"),
        ({"sender": "a@b.example", "sending_ip": "nowhere"}, "sending_ip"),
        ({"sender": "a@b.example", "sending_ip": "192.0.2.1", "pool": "x"}, "pool"),
        ({"sender": "a@b.example", "sender_ip": "192.0.2.1"}, "sender_ip"),
        ({"permits": []}, "permits"),
        ({"permits": [{"sender": "a@b.example", "recipients": "many"}]}, "permits"),
        ({"sender": "a@b.example", "pool": "no such pool"}, "pool"),
    ],
)
def test_a_bad_question_names_its_field(client: Client, token: str, body: dict[str, Any], field: str) -> None:
    sent = {"content_type": "application/json", "headers": {"Authorization": f"Bearer {token}"}}
    answer = client.post("/api/permits", body, **sent)
    assert answer.status_code == 400, answer.content
    assert field in str(answer.json())


@pytest.mark.django_db
def test_who_is_nobody_may_not_ask(client: Client, admin_client: Client) -> None:
    body = {"sender": "a@b.example"}
    assert client.post("/api/permits", body, content_type="application/json").status_code == 401
    bad = {"Authorization": "Bearer gs_nonsense"}
    assert client.post("/api/permits", body, content_type="application/json", headers=bad).status_code == 401


@pytest.mark.django_db
def test_the_record_is_listed_and_filtered(admin_client: Client) -> None:
    permits.ask([NEWS], now=NOW)
    permits.desk().write_down()
    assert admin_client.get("/api/permits/log", {"action": "allow"}).json()["results"][0]["asks"] == 1
    assert admin_client.get("/api/permits/log", {"action": "defer"}).json()["results"] == []
    assert admin_client.get("/api/permits/log", {"verdict": "x"}).status_code == 400


def both_ways(body: bytes, token: str, client: Client) -> tuple[list[Any], Any]:
    """What the lane answers (status, JSON; empty where it leaves it to Django), and what Django answers."""
    sent: list[Any] = []

    async def ask() -> None:
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return messages.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        async def other(scope: Any, receive: Any, send: Any) -> None:
            assert (await receive())["body"] == body  # Django must find the body unread

        headers = [
            (b"authorization", f"Bearer {token}".encode()),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        lane = PermitLane(other, "/api/permits")
        await lane({"type": "http", "method": "POST", "path": "/api/permits", "headers": headers}, receive, send)

    asyncio.run(ask())
    answered = [sent[0]["status"], json.loads(sent[1]["body"])] if sent else []
    told = client.post(
        "/api/permits", body, content_type="application/json", headers={"Authorization": f"Bearer {token}"}
    )
    return answered, told


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "question",
    [
        {"sender": "news@shop.example", "recipient": "someone@gmail.com"},
        {"sender": "paused@paused.example", "recipient": "gmail.com", "recipients": 7},
        {"sender": ""},
        {"sender": "<>", "recipient": "someone@gmail.com"},
    ],
)
def test_the_fast_way_in_answers_what_django_answers(client: Client, token: str, question: dict[str, Any]) -> None:
    enforce(domain_limit_per_hour=100)
    user = User.objects.create(username="ops")
    scope = Scope("domain", "paused.example", "")
    breaker_acts.open_by_hand(scope, reason="a bought list", user=user, now=datetime.now(UTC))
    answered, told = both_ways(json.dumps(question).encode(), token, client)
    assert answered[0] == told.status_code == 200
    expected = told.json()
    # "In a quarter of an hour" moves with the clock.
    fast, slow = ((answer.pop("until"), answer.pop("retry_after")) for answer in (answered[1], expected))
    assert [value is None for value in fast] == [value is None for value in slow]
    if slow[0]:
        assert abs(datetime.fromisoformat(fast[0]) - datetime.fromisoformat(slow[0])) < timedelta(seconds=20)
    assert answered[1] == expected


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"not json",
        b'{"sender": 5}',
        b'{"sender": "a@b.example", "recipients": 0}',
        b'{"sender": "a@b.example", "recipients": 1.5}',
        b'{"sender": "a@b.example", "recipient": ""}',
        b'{"sender": "a@b.example", "surprise": 1}',
        b'{"sender": " a@b.example"}',
        b'{"sender": "a@b.example\\u0000"}',
        b'{"sender": "' + b"a" * 400 + b'"}',
        b'{"permits": [{"sender": "a@b.example"}]}',
        b'{"sending_domain": "b.example"}',
    ],
)
def test_whatever_is_not_plain_is_left_to_django_which_never_fails(client: Client, token: str, body: bytes) -> None:
    answered, told = both_ways(body, token, client)
    assert answered == []
    assert told.status_code in (200, 400)


@pytest.mark.django_db(transaction=True)
def test_the_fast_way_in_knows_no_revoked_token(client: Client, token: str) -> None:
    revoke_token(SourceToken.objects.get(), now=datetime.now(UTC))
    answered, told = both_ways(b'{"sender": "a@b.example"}', token, client)
    assert (answered, told.status_code) == ([], 401)


@pytest.mark.django_db
def test_the_record_and_the_budgets_go_with_the_nightly_clean_up() -> None:
    enforce(domain_limit_per_hour=100)
    permits.ask([NEWS], now=NOW)
    permits.desk().write_down()
    history.clean_up(now=NOW + timedelta(days=6))
    assert (PermitMinute.objects.count(), Budget.objects.count()) == (1, 1)
    history.clean_up(now=NOW + timedelta(days=60))
    assert (PermitMinute.objects.count(), Budget.objects.count()) == (1, 0)
    history.clean_up(now=NOW + timedelta(days=100))
    assert not PermitMinute.objects.exists()

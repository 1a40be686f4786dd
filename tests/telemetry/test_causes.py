"""Rules in the database: what an edit changes, that stored refusals follow it, and that no counter is lost on the way."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from telemetry import causes, mailbox_providers, reclassify, sql
from telemetry.counters import roll_up
from telemetry.domain.cells import floor_day, floor_hour, floor_minute
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import (
    CauseRule,
    ChangedSender,
    MailboxProvider,
    RefusalDay,
    RefusalHour,
    RefusalMinute,
    RuleSet,
    SendingEvent,
    Source,
)
from telemetry.unmatched import draft_of, unmatched_replies
from tests.conftest import NOON
from tests.telemetry.crowd import day_of_events, finish, in_batches, start

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
LEVELS: dict[Any, Any] = {RefusalMinute: floor_minute, RefusalHour: floor_hour, RefusalDay: floor_day}
ODD = "550 5.7.1 the moon is in the wrong house today"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """What one test's rules taught this process is not the next one's."""
    causes.forget_cached()
    mailbox_providers.forget_cached()
    yield
    causes.forget_cached()
    mailbox_providers.forget_cached()


def a_rule(**fields: Any) -> CauseRule:
    given = {
        "name": "moon",
        "order": 500,
        "text": "moon is in the wrong house",
        "category": "other",
        "scope": "unknown",
    }
    rule = CauseRule(**(given | fields))
    rule.full_clean()
    rule.save()
    return rule


def bounce(make: Make, event_id: str, reply: str = ODD, **fields: Any) -> Event:
    given = {"type": EventType.BOUNCE, "smtp_code": 550, "enhanced_code": "5.7.1", "reply": reply, "event_id": event_id}
    return make(**(given | fields))


def stored_causes() -> Counter[str]:
    return Counter(SendingEvent.objects.exclude(type="delivery").values_list("cause", flat=True))


def recount(table: Any) -> Counter[tuple[Any, ...]]:
    """The refusal counters of a level as the raw rows say they must be."""
    found: Counter[tuple[Any, ...]] = Counter()
    for row in SendingEvent.objects.filter(type__in=reclassify.REFUSED):
        code = row.enhanced_code or str(row.smtp_code or "")
        bucket = LEVELS[table](row.occurred_at)
        who = (row.sending_ip, row.sending_domain, row.recipient_domain, row.provider)
        found[(bucket, *who, code, row.cause)] += 1
    return found


def counted(table: Any) -> Counter[tuple[Any, ...]]:
    names = ("bucket", "sending_ip", "sending_domain", "recipient_domain", "provider", "code", "cause", "count")
    return Counter({row[:-1]: row[-1] for row in table.objects.values_list(*names)})


def assert_counters_equal_a_recount(*tables: Any) -> None:
    for table in tables or LEVELS:
        assert counted(table) == recount(table), table.__name__


# --- the rules in the table ------------------------------------------------------------------------------------------


def test_the_shipped_rules_are_there_and_an_update_leaves_what_the_operator_changed() -> None:
    names = {row["name"] for row in causes.shipped()}
    assert names == set(CauseRule.objects.values_list("name", flat=True))
    CauseRule.objects.filter(name="list-spamhaus").update(category="policy", active=False)
    CauseRule.objects.filter(name="spam").delete()
    causes.ensure_rules()
    assert CauseRule.objects.get(name="list-spamhaus").category == "policy"
    assert not CauseRule.objects.get(name="list-spamhaus").active
    assert CauseRule.objects.filter(name="spam").exists()


def test_an_event_is_stored_and_counted_by_the_cause_of_its_text(source: Source, make_event: Make) -> None:
    listed = bounce(make_event, "1", "550 5.7.1 blocked using zen.spamhaus.org", recipient_domain="company.example")
    record_batch(source, [listed, make_event(event_id="2")], now=NOON)
    assert stored_causes() == {"blocklist": 1}
    assert RefusalMinute.objects.get().cause == "blocklist"
    assert SendingEvent.objects.get(type="delivery").cause == ""


def test_a_new_rule_counts_from_its_saving_on(source: Source, make_event: Make) -> None:
    record_batch(source, [bounce(make_event, "1")], now=NOON)
    rule = a_rule()
    record_batch(source, [bounce(make_event, "2")], now=NOON)
    rule.active = False
    rule.save()
    record_batch(source, [bounce(make_event, "3")], now=NOON)
    assert list(SendingEvent.objects.order_by("event_id").values_list("cause", flat=True)) == [
        "policy",
        "other",
        "policy",
    ]


@pytest.mark.parametrize("fields", [{"text": "(a+)+b"}, {"text": "("}, {"text": ""}, {"text": "a*"}, {"reply": "["}])
def test_a_pattern_that_could_harm_is_not_saved(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        a_rule(**fields)


def test_a_provider_of_a_family_gets_the_familys_rules() -> None:
    reply = "550 5.4.1 Access denied"
    assert causes.classify("microsoft_365", 550, "5.4.1", reply).rule == "microsoft-directory-block"
    a_rule(name="family", providers="microsoft", text="access denied", enhanced=r"5\.4\.1", category="policy")
    assert causes.classify("microsoft_consumer", 550, "5.4.1", reply).rule == "family"
    assert causes.classify("yahoo", 550, "5.4.1", reply).rule == "microsoft-directory-block"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("5.1.1", "unknown_user"),
        ("5.7.1", "policy"),
        ("4.7.26", "authentication"),
        ("5.7.606", "reputation"),
        ("5.7.998", "policy"),
        ("552", "mailbox_full"),
        ("550", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_code_alone_names_a_broad_cause(code: str, cause: str) -> None:
    assert causes.cause_of_code(code) == cause


# --- stored refusals follow ------------------------------------------------------------------------------------------


def test_stored_refusals_and_their_counters_follow_a_changed_rule(source: Source, make_event: Make) -> None:
    early = {"occurred_at": NOON - timedelta(hours=3)}
    record_batch(source, [bounce(make_event, f"e{number}", **early) for number in range(4)], now=NOON)
    roll_up(now=NOON - timedelta(hours=1))
    record_batch(source, [bounce(make_event, f"n{number}") for number in range(3)], now=NOON)
    record_batch(source, [bounce(make_event, "u", "550 5.1.1 no such user")], now=NOON)
    ChangedSender.objects.all().delete()
    a_rule()
    progress = reclassify.reclassify(now=NOON, batch=3)
    assert (progress.checked, progress.changed) == (8, 7)
    assert stored_causes() == {"other": 7, "unknown_user": 1}
    assert_counters_equal_a_recount(RefusalMinute)
    for table, bucket in ((RefusalHour, NOON - timedelta(hours=3)), (RefusalDay, floor_day(NOON))):
        assert list(table.objects.values_list("bucket", "cause", "count")) == [(bucket, "other", 4)]
    assert ChangedSender.objects.exists(), "the IP is judged anew"
    roll_up(now=NOON + timedelta(hours=1))
    assert_counters_equal_a_recount()


def test_classifying_twice_changes_nothing(source: Source, make_event: Make) -> None:
    record_batch(source, [bounce(make_event, str(number)) for number in range(5)], now=NOON)
    a_rule()
    reclassify.reclassify(now=NOON)
    before = [counted(table) for table in LEVELS]
    assert reclassify.reclassify(now=NOON).changed == 0
    assert [counted(table) for table in LEVELS] == before


def test_a_stopped_pass_goes_on_where_it_was_and_a_newer_edition_begins_again(source: Source, make_event: Make) -> None:
    record_batch(source, [bounce(make_event, str(number)) for number in range(10)], now=NOON)
    rule = a_rule()
    assert reclassify.reclassify(now=NOON, batch=3, most_batches=2).checked == 6
    assert stored_causes() == {"other": 6, "policy": 4}
    assert_counters_equal_a_recount(RefusalMinute)
    assert reclassify.reclassify(now=NOON, batch=3, most_batches=1).checked == 3
    rule.category = "content"
    rule.save()
    assert reclassify.reclassify(now=NOON, batch=100, most_batches=1).changed == 10
    assert stored_causes() == {"content": 10}
    assert_counters_equal_a_recount(RefusalMinute)


def test_a_pass_is_the_last_one_only_if_it_began_when_every_process_knew_the_rules(
    source: Source, make_event: Make
) -> None:
    record_batch(source, [bounce(make_event, "1")], now=NOON)
    a_rule()
    changed_at = RuleSet.objects.get().changed_at
    assert not reclassify.is_due(now=changed_at + timedelta(seconds=5))
    assert not reclassify.reclassify(now=changed_at + timedelta(seconds=5)).complete
    later = changed_at + timedelta(seconds=40)
    assert reclassify.is_due(now=later)
    # A process that did not know the rule yet has stored this in the meantime.
    SendingEvent.objects.update(cause="policy")
    RefusalMinute.objects.all().delete()
    record_batch(source, [bounce(make_event, "2")], now=NOON)
    assert reclassify.reclassify(now=later).complete
    assert stored_causes() == {"other": 2}
    assert not reclassify.is_due(now=later)


def test_a_counter_that_is_past_its_retention_never_falls_below_zero(source: Source, make_event: Make) -> None:
    record_batch(source, [bounce(make_event, str(number)) for number in range(4)], now=NOON)
    RefusalMinute.objects.update(count=1)
    a_rule()
    reclassify.reclassify(now=NOON)
    assert list(RefusalMinute.objects.values_list("cause", "count")) == [("other", 1)]


def test_the_command_says_what_it_did(source: Source, make_event: Make, capsys: pytest.CaptureFixture[str]) -> None:
    record_batch(source, [bounce(make_event, str(number)) for number in range(3)], now=NOON)
    a_rule()
    call_command("reclassify_refusals", batch=2)
    assert "3 refusals looked at, 3 changed" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_beside_ingest_roll_up_and_a_second_pass_every_counter_equals_a_recount() -> None:
    texts = [ODD, "550 5.1.1 no such user", "550 5.7.1 blocked using zen.spamhaus.org", "451 4.7.1 greylisted"]
    chance = random.Random(3)
    source_id = Source.objects.create(name="mta-1", kind="generic").pk
    events = [
        Event(**{name: getattr(event, name) for name in event.__slots__} | {"reply": chance.choice(texts)})
        for event in day_of_events(6_000, now=NOON)
        if event.type in (EventType.BOUNCE, EventType.DEFER) or chance.random() < 0.2
    ]
    batches = in_batches(events, [20, 50, 120], chance)
    half = len(batches) // 2
    source = Source.objects.get(pk=source_id)
    for batch in batches[:half]:
        record_batch(source, batch, now=NOON)
    a_rule(category="content")

    def write(share: list[list[Event]]) -> None:
        mine = Source.objects.get(pk=source_id)
        for batch in share:
            record_batch(mine, batch, now=NOON)

    def classify() -> None:
        for category in ("other", "reputation", "content"):
            CauseRule.objects.get(name="moon").delete()
            a_rule(category=category)
            reclassify.reclassify(now=NOON, batch=40)

    def again() -> None:
        for _ in range(4):
            reclassify.reclassify(now=NOON, batch=60)

    def roll() -> None:
        for minutes in range(900, 0, -45):
            roll_up(now=NOON - timedelta(minutes=minutes))

    rest = batches[half:]
    writers = [start(lambda share=rest[number::3]: write(share)) for number in range(3)]  # type: ignore[misc]
    finish([*writers, start(classify), start(again), start(roll)])
    for batch in batches:
        record_batch(source, batch, now=NOON)
    assert SendingEvent.objects.count() == len(events)
    assert_counters_equal_a_recount(RefusalMinute)
    roll_up(now=NOON + timedelta(hours=1))
    assert_counters_equal_a_recount()
    causes.forget_cached()
    reclassify.reclassify(now=RuleSet.objects.get().changed_at + timedelta(minutes=1))
    reclassify.reclassify(now=RuleSet.objects.get().changed_at + timedelta(minutes=1))
    odd = SendingEvent.objects.filter(type__in=reclassify.REFUSED, reply=ODD)
    assert odd.exists()
    assert set(odd.values_list("cause", flat=True)) == {"content"}
    assert_counters_equal_a_recount(RefusalMinute)


# --- unmatched replies and the admin ---------------------------------------------------------------------------------


@pytest.fixture
def as_root(django_user_model: type[User]) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("root", "root@example.com", "correct horse battery"))
    return client


def test_unmatched_replies_are_listed_by_frequency_whatever_their_ids(source: Source, make_event: Make) -> None:
    odd = [
        bounce(make_event, f"a{number}", f"550 5.7.1 the moon (id {number * 10**6 + 123456}) <r{number}@gmail.com>")
        for number in range(3)
    ]
    other = bounce(make_event, "b", "qwertz", smtp_code=None, enhanced_code="")
    known = bounce(make_event, "c", "550 5.1.1 no such user")
    old = bounce(make_event, "d", "moonless", occurred_at=NOON - timedelta(days=9))
    record_batch(source, [*odd, other, known, old], now=NOON)
    found = unmatched_replies(now=NOON, days=7)
    assert [(row.count, row.shape, row.category) for row in found] == [
        (3, "the moon (id #) <@>", "policy"),
        (1, "qwertz", "unknown"),
    ]


def test_a_rule_made_from_an_unmatched_reply_fits_it(as_root: Client, source: Source, make_event: Make) -> None:
    record_batch(source, [bounce(make_event, "1", occurred_at=NOON)], now=NOON)
    page = as_root.get(reverse("admin:telemetry_unmatched"))
    assert page.status_code == 200
    draft = draft_of("google", ODD)
    form = (
        as_root.get(reverse("admin:telemetry_causerule_add"), {"for_provider": "google", "for_reply": ODD})
        .context["adminform"]
        .form
    )
    assert form.initial["text"] == draft["text"]
    data = {"order": 500, "category": "other", "scope": "unknown", "permanence": "either", "confidence": "medium"}
    posted = as_root.post(reverse("admin:telemetry_causerule_add"), data | draft | {"active": "on"})
    assert posted.status_code == 302, posted.context["adminform"].form.errors
    assert causes.classify("google", 550, "5.7.1", ODD).rule == draft["name"]
    asked = as_root.get(reverse("admin:telemetry_causerule_apply"), follow=True)
    assert "1 got another cause" in asked.content.decode()
    assert stored_causes() == {"other": 1}


def test_the_admin_refuses_a_rule_that_misses_its_own_example(as_root: Client) -> None:
    data = {"order": 500, "category": "other", "scope": "unknown", "permanence": "either", "confidence": "medium"}
    data |= {"name": "moon", "text": "sun", "examples": ODD}
    posted = as_root.post(reverse("admin:telemetry_causerule_add"), data)
    assert posted.status_code == 200
    assert "do not fit this example" in str(posted.context["adminform"].form.errors)


# --- mailbox providers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mx", "domain", "provider"),
    [
        ("mx1.hoster.example", "shop.example", "hoster.example"),
        ("mx2.a.hoster.example", "another.example", "hoster.example"),
        ("mx.hoster.co.uk", "shop.example", "hoster.co.uk"),
        ("mx.company.example", "company.example", "other"),
        ("mx.company.example", "news.company.example", "other"),
        ("192.0.2.1", "company.example", "other"),
        ("mx.hoster.example", "", "other"),
        ("", "company.example", "other"),
        ("mx1.unlisted.example", "gmail.com", "google"),
        ("company.mail.protection.outlook.com", "company.example", "microsoft_365"),
        ("outlook-com.olc.protection.outlook.com", "outlook.com", "microsoft_consumer"),
        ("mx.gateway.pphosted.com", "gmail.com", "proofpoint"),
        ("gmail-smtp-in.l.google.com", "company.example", "google"),
        ("", "hotmail.com", "microsoft_consumer"),
        ("", "yahoo.com", "yahoo"),
        ("inbound-smtp.eu-west-1.amazonaws.com", "company.example", "amazon_workmail"),
        ("google.com.attacker.example", "company.example", "attacker.example"),
    ],
)
def test_an_unlisted_host_of_other_domains_gets_a_bucket_and_a_domains_own_server_none(
    mx: str, domain: str, provider: str
) -> None:
    assert mailbox_providers.provider_of(mx, domain) == provider


def test_the_directory_can_be_edited_and_an_update_keeps_the_edit() -> None:
    assert mailbox_providers.provider_of("mx1.hoster.example", "shop.example") == "hoster.example"
    row = MailboxProvider(id="hoster", title="A hoster", mx_suffixes=[".hoster.example"], domains=["mail.example"])
    row.full_clean()
    row.save()
    assert mailbox_providers.provider_of("mx1.hoster.example", "shop.example") == "hoster"
    assert mailbox_providers.provider_of("", "mail.example") == "hoster"
    MailboxProvider.objects.filter(pk="google").update(active=False, title="Changed")
    mailbox_providers.ensure_providers()
    assert MailboxProvider.objects.get(pk="google").title == "Changed"
    assert mailbox_providers.provider_of("", "gmail.com") == "other"
    with pytest.raises(ValidationError):
        MailboxProvider(id="wide", title="Too wide", mx_suffixes=["example"]).full_clean()


def test_every_writer_takes_the_cells_in_the_order_of_their_keys(
    source: Source, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_batch(
        source, [bounce(make_event, str(number), f"550 5.7.1 x{number % 3} moon") for number in range(9)], now=NOON
    )
    taken: list[tuple[str, list[Any]]] = []
    real = sql.insert_rows

    def watch(table: str, columns: Any, rows: Any, conflict: str = "") -> None:
        rows = list(rows)
        taken.append((table, [row[0] for row in rows]))
        real(table, columns, rows, conflict)

    monkeypatch.setattr("telemetry.sql.writing.insert_rows", watch)
    a_rule(text="moon")
    reclassify.reclassify(now=NOON)
    mine = [keys for table, keys in taken if table.startswith("telemetry_refusal")]
    assert mine
    assert all(keys == sorted(keys) for keys in mine)

"""A person is forgotten: no table holds the address afterwards, and nobody else's is touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from reputation.models import AuditEntry
from reputation_site.forgetting import MARK, pattern
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import RejectedEvent, SendingEvent, Source
from tests.conftest import NOON

PERSON = "Zoë.Person@shop.example"
OTHERS = ("not.zoë.person@shop.example", "zoë.person@shop.example.org")
pytestmark = pytest.mark.django_db


def everything() -> Iterator[str]:
    """Every value of every table of the database, as the database hands it out."""
    for model in apps.get_models():
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT * FROM "{model._meta.db_table}"')
            for row in cursor.fetchall():
                yield from (str(value) for value in row)


def holding(address: str) -> list[str]:
    forms = (address.lower(), address.lower().encode("ascii", "backslashreplace").decode().replace("\\xeb", "\\u00eb"))
    return [value for value in everything() if any(pattern(form).search(value.lower()) for form in forms)]


@pytest.fixture
def _known(source: Source, make_event: Callable[..., Event]) -> None:
    bounce = {"type": EventType.BOUNCE, "smtp_code": 550, "enhanced_code": "5.1.1"}
    record_batch(
        source,
        [
            make_event(event_id="1", recipient=PERSON, reply=f"550 <{PERSON}>: no such user {PERSON}.", **bounce),
            make_event(event_id="2", recipient=OTHERS[0], reply=f"550 <{OTHERS[0]}> is full", **bounce),
            make_event(event_id="3", recipient=OTHERS[1], **bounce),
        ],
        now=NOON,
    )
    RejectedEvent.objects.create(
        source=source, field="smtp_code", message="wrong", payload=json.dumps({"to": [PERSON], "note": OTHERS[0]})
    )
    AuditEntry.objects.create(
        sending_ip="192.0.2.10",
        action="quarantine",
        reason=f"{PERSON} complained",
        at=NOON,
        metadata={"to": {PERSON: [PERSON, 1]}},
    )


@pytest.mark.usefixtures("_known")
def test_nothing_holds_the_address_afterwards_and_others_stay(capsys: Any) -> None:
    assert len(holding(PERSON)) >= 4
    before = {other: len(holding(other)) for other in OTHERS}
    call_command("forget", PERSON.lower(), "--dry-run")
    assert len(holding(PERSON)) >= 4, "a dry run changes nothing"
    call_command("forget", PERSON.lower())
    assert holding(PERSON) == []
    assert {other: len(holding(other)) for other in OTHERS} == before
    event = SendingEvent.objects.get(event_id="1")
    assert (event.recipient, event.reply) == ("", f"550 <{MARK}>: no such user {MARK}.")
    assert json.loads(RejectedEvent.objects.get().payload) == {"to": [MARK], "note": OTHERS[0]}
    assert AuditEntry.objects.get().metadata == {"to": {MARK: [MARK, 1]}}
    told = capsys.readouterr().out
    assert "3 rows hold it." in told
    assert "3 rows held it and hold it no longer." in told
    assert PERSON.lower() not in told.lower()
    call_command("forget", PERSON)
    assert "0 rows" in capsys.readouterr().out


def test_a_recipient_kept_as_a_digest_is_forgotten_too(
    source: Source, make_event: Callable[..., Event], settings: Any
) -> None:
    settings.RECIPIENTS_OF_DELIVERIES = "hashed"
    record_batch(source, [make_event(event_id="1", recipient=PERSON), make_event(event_id="2")], now=NOON)
    assert SendingEvent.objects.exclude(recipient="").count() == 2
    call_command("forget", PERSON)
    assert list(SendingEvent.objects.exclude(recipient="").values_list("event_id", flat=True)) == ["2"]


def test_a_user_who_logs_in_is_named_and_left(capsys: Any) -> None:
    User.objects.create(username="zoe", email=PERSON)
    call_command("forget", PERSON)
    assert "A user who logs in here has this address" in capsys.readouterr().out
    assert User.objects.get().email == PERSON


@pytest.mark.parametrize("address", ["", "nobody", "@shop.example", "%@%"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(CommandError, match="no e-mail address"):
        call_command("forget", address)

"""What every format that is posted to us must stand: inherit `ParserCase`, describe the format, and these tests run.

A new server's tests begin with a subclass (docs/adding-a-server.md); what is special about the server follows beside it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
from typing import Any, ClassVar

import pytest
from django.test import Client

from telemetry.models import RejectedEvent, SendingEvent, Source
from telemetry.models.counters import TrafficMinute
from telemetry.parsers.base import Parser
from telemetry.parsers.registry import PARSERS
from telemetry.tokens import issue_token

Answer = Any


@pytest.mark.django_db
class ParserCase:
    """Subclasses describe their format in the class variables and the three methods below."""

    url: ClassVar[str]
    kind: ClassVar[str]
    parser: ClassVar[Parser]
    content_type: ClassVar[str] = "application/json"
    types: ClassVar[dict[str, str | None]]
    """What each kind of event that the server has is stored as; None for those that are ignored."""
    unknown_is_kept: ClassVar[bool] = False
    """Whether an event of an unknown type is kept as rejected (our own formats) or passed over (a server's)."""
    bad_field: ClassVar[str]
    """Which field of `bad` is wrong, as the sender is told."""

    def event(self, number: int, kind: str | None = None) -> dict[str, Any]:
        """A good event; another number is another event. `kind` is a key of `types` or a type nobody knows."""
        raise NotImplementedError

    def bad(self) -> dict[str, Any]:
        """An event that cannot be taken."""
        raise NotImplementedError

    def body(self, events: list[Any]) -> Any:
        """The body that carries these events."""
        raise NotImplementedError

    # --- what a subclass may use ------------------------------------------------------------------------------------

    @pytest.fixture(autouse=True)
    def _reporter(self, db: None, client: Client) -> None:
        self.client = client
        self.source = Source.objects.create(name=f"a-{self.kind}", kind=self.kind)
        self.token = issue_token(self.source)

    def post(self, body: Any, **changed: Any) -> Answer:
        """The answer to a body as the server would send it, but for what is changed."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        options = {"content_type": self.content_type, "headers": {"Authorization": f"Bearer {self.token}"}} | changed
        return self.client.post(self.url, data=data, **options)

    def send(self, *events: Any) -> dict[str, Any]:
        """The answer to a batch that was taken."""
        answer = self.post(self.body(list(events)))
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    def stored(self) -> list[tuple[Any, ...]]:
        """Everything that was stored, to compare two ways of sending."""
        columns = ("type", "occurred_at", "sending_ip", "sending_domain", "recipient_domain", "mx_host", "smtp_code")
        more = ("enhanced_code", "reply", "attempt_number", "message_id", "event_id")
        return sorted(SendingEvent.objects.values_list(*columns, *more), key=repr)

    def counted(self) -> list[tuple[Any, ...]]:
        """Every traffic counter."""
        measures = ("delivered", "bounced", "deferred", "superseded", "complained")
        return sorted(TrafficMinute.objects.values_list("bucket", "sending_ip", "sending_domain", *measures), key=repr)

    # --- who may send -----------------------------------------------------------------------------------------------

    def test_without_a_usable_token_nothing_is_taken(self) -> None:
        body = self.body([self.event(1)])
        wrong = f"gs_abcdefghijkl_{'x' * 43}"
        for headers in ({}, {"Authorization": f"Bearer {wrong}"}, {"Authorization": f"Token {self.token}"}):
            assert self.post(body, headers=headers).status_code == 401
        self.source.is_active = False
        self.source.save()
        assert self.post(body).status_code == 403
        assert not SendingEvent.objects.exists()

    def test_with_a_key_only_rightly_signed_bodies_are_taken(self) -> None:
        self.source.hmac_key = "shared key"
        self.source.save()
        body = json.dumps(self.body([self.event(1)])).encode()
        signature = base64.b64encode(hmac.new(b"shared key", body, hashlib.sha256).digest()).decode()
        bearer = {"Authorization": f"Bearer {self.token}"}
        assert self.post(body).status_code == 401
        assert self.post(body, headers=bearer | {"X-Signature": "AAAA"}).status_code == 401
        assert self.post(body + b" ", headers=bearer | {"X-Signature": signature}).status_code == 401
        assert not SendingEvent.objects.exists()
        assert self.post(body, headers=bearer | {"X-Signature": signature}).status_code == 200
        assert SendingEvent.objects.exists()

    # --- bodies and events that are wrong ---------------------------------------------------------------------------

    @pytest.mark.parametrize("body", [b" ", b"{", b"[{", b"\xff\xfe", b"3", b'"text"', b"[" * 10_000])
    def test_a_body_that_is_no_batch_is_refused_for_good_and_leaves_nothing(self, body: bytes) -> None:
        assert self.post(body).status_code == 400
        assert not SendingEvent.objects.exists()
        assert not RejectedEvent.objects.exists()

    def test_another_content_type_is_refused(self) -> None:
        assert self.post(self.body([self.event(1)]), content_type="text/plain").status_code == 415
        assert not SendingEvent.objects.exists()

    def test_a_good_event_is_stored_beside_a_bad_one_and_the_bad_one_is_named_and_kept(self) -> None:
        answer = self.send(self.event(1), self.bad(), self.event(2))
        assert (answer["status"], answer["processed"], answer["failed"]) == ("partial", 2, 1)
        assert [(error["index"], error["field"]) for error in answer["errors"]] == [(1, self.bad_field)]
        assert SendingEvent.objects.count() == 2
        kept = RejectedEvent.objects.get()
        assert (kept.parser, kept.field) == (self.parser.name, self.bad_field)

    def test_a_mended_event_is_read_again_as_what_it_came_as(self) -> None:
        from django.utils import timezone

        from telemetry.intake import replay

        self.send(self.bad())
        kept = RejectedEvent.objects.get()
        kept.payload = json.dumps(self.event(1))
        assert replay(kept, now=timezone.now()) is None
        assert replay(kept, now=timezone.now()) is None
        assert SendingEvent.objects.count() == 1
        assert self.send(self.event(1))["duplicates"] == 1

    # --- once, whatever is sent -------------------------------------------------------------------------------------

    def test_what_is_sent_again_in_other_batches_changes_nothing(self) -> None:
        events = [self.event(number) for number in range(12)]
        assert self.send(*events)["duplicates"] == 0
        before = self.stored(), self.counted()
        assert len(before[0]) == 12
        again = [*events, *events[::2]]
        random.Random(7).shuffle(again)
        for start in range(0, len(again), 5):
            batch = again[start : start + 5]
            assert self.send(*batch)["duplicates"] == len(batch)
        assert (self.stored(), self.counted()) == before

    def test_a_batch_and_one_by_one_give_the_same(self) -> None:
        kinds = [kind for kind, stored_as in self.types.items() if stored_as]
        events = [self.event(number, kind) for number, kind in enumerate(kinds * 2)]
        for event in reversed(events):
            self.send(event)
        one_by_one = self.stored(), self.counted()
        self.send(*events)
        assert (self.stored(), self.counted()) == one_by_one

    # --- types ------------------------------------------------------------------------------------------------------

    def test_each_kind_of_event_becomes_what_it_means(self) -> None:
        found = {}
        for number, kind in enumerate(self.types):
            SendingEvent.objects.all().delete()
            answer = self.send(self.event(number, kind))
            assert (answer["processed"], answer["failed"]) == (1, 0), kind
            types = set(SendingEvent.objects.values_list("type", flat=True))
            assert len(types) <= 1
            found[kind] = types.pop() if types else None
        assert found == self.types

    def test_an_unknown_type_costs_nobody_anything(self) -> None:
        answer = self.send(self.event(1), self.event(2, "com.example.never-heard-of"))
        assert answer["failed"] == int(self.unknown_is_kept)
        assert RejectedEvent.objects.count() == int(self.unknown_is_kept)
        assert SendingEvent.objects.count() == 1

    def test_the_parser_is_known_by_its_name(self) -> None:
        assert PARSERS[self.parser.name] is self.parser

"""Permits: decide by the book, spend what was decided exactly, record, answer. Whoever asks, asks here.

REST, the Postfix services and the Stalwart hook all use one `Desk` per process.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import NamedTuple

from django.db import Error as DatabaseError

from reputation import budgets
from reputation.budgets import BudgetsAwayError, Spend, Store
from reputation.domain.permit import Action, Answer, Ask, Facts, Ruling, answer, cannot_know, decide
from reputation.domain.permit_book import PermitBook
from reputation.permit_facts import Books
from reputation.permit_record import Recorder

log = logging.getLogger(__name__)


class Considered(NamedTuple):
    """An ask, what it is decided by, and what the rules say before anything is spent."""

    ask: Ask
    facts: Facts
    ruling: Ruling


class Desk:
    """Where permits are asked for: the book, the budgets and the record of one process."""

    def __init__(self, books: Books, store: Store | None, recorder: Recorder) -> None:
        self.books, self._store, self.recorder = books, store, recorder

    @property
    def store(self) -> Store:
        """Where budgets are kept."""
        return self._store or budgets.store()

    def ask(self, asks: Sequence[Ask], *, now: datetime, spend: bool = True) -> list[Answer]:
        """One answer per ask, in order. Without `spend` nothing is taken and nothing recorded: a look ahead.

        Raises DatabaseError only where the database never answered since this process started.
        """
        book = self.books.current()
        if spend:
            return self.spend(asks, book, now=now)
        return [self.tell(self.consider(ask, book, now=now), book, now=now, record=False) for ask in asks]

    def spend(self, asks: Sequence[Ask], book: PermitBook, *, now: datetime) -> list[Answer]:
        """Decide by this book, spend, and record."""
        return self.spend_decided([self.consider(ask, book, now=now) for ask in asks], book, now=now)

    def consider(self, ask: Ask, book: PermitBook, *, now: datetime) -> Considered:
        """What this book says of an ask; nothing is spent yet."""
        facts = book.facts(ask, now)
        if unknown := book.unknown_domain(ask):
            self.books.mx.want(unknown)
        return Considered(ask, facts, decide(ask, facts, {}, now))

    def spend_decided(self, considered: Sequence[Considered], book: PermitBook, *, now: datetime) -> list[Answer]:
        """Spend what was decided, decide anew where it is spent already, and record."""
        rulings = self._settle(considered, now)
        answers = [
            self._answer(entry.ask, entry.facts, ruling, book)
            for entry, ruling in zip(considered, rulings, strict=True)
        ]
        self.recorder.add(zip([entry.ask for entry in considered], answers, strict=True), now=now)
        return answers

    def tell(self, considered: Considered, book: PermitBook, *, now: datetime, record: bool) -> Answer:
        """The answer where nothing is to be spent."""
        answer = self._answer(considered.ask, considered.facts, considered.ruling, book)
        if record:
            self.recorder.add([(considered.ask, answer)], now=now)
        return answer

    def too_many(self, ask: Ask, book: PermitBook, *, now: datetime) -> Answer:
        """The answer where more ask than can be answered in time."""
        facts = book.facts(ask, now)
        ruling = cannot_know(facts.policy, "More asked than could be answered.", now)
        answer = self._answer(ask, facts, ruling, book)
        self.recorder.add([(ask, answer)], now=now)
        return answer

    def _answer(self, ask: Ask, facts: Facts, ruling: Ruling, book: PermitBook) -> Answer:
        told = answer(ruling, facts.policy.mode, pool=book.pool_of(ask), provider=book.provider_of(ask))
        away = self.books.away_since
        if away is not None and ruling.action is not Action.ALLOW:
            told = replace(told, reason=f"{told.reason} (As of {self.books.as_of:%H:%M} UTC: the database is away.)")
        return told

    def _settle(self, considered: Sequence[Considered], now: datetime) -> list[Ruling]:
        """Spend and decide anew, until every ask is held back or has what it needs."""
        known: dict[str, int] = {}
        rulings = [entry.ruling for entry in considered]
        wanting = [number for number, ruling in enumerate(rulings) if ruling.caps]
        while wanting:
            spends = [Spend(considered[number].ask.recipients, rulings[number].caps) for number in wanting]
            try:
                short = self.store.take(spends)
            except BudgetsAwayError as error:
                log.error("budgets do not answer", extra={"error": str(error)})
                for number in wanting:
                    policy = considered[number].facts.policy
                    rulings[number] = cannot_know(policy, "Nobody knows now what is spent.", now)
                break
            failed = [(number, found) for number, found in zip(wanting, short, strict=True) if found is not None]
            # Each round learns of budgets that have too little left, so this ends.
            known.update((found.key, max(found.spent, known.get(found.key, 0))) for _, found in failed)
            for number, _ in failed:
                rulings[number] = decide(considered[number].ask, considered[number].facts, known, now)
            wanting = [number for number, _ in failed if rulings[number].caps]
        return rulings

    def write_down(self) -> None:
        """Write the record and what budgets kept elsewhere say. Raises DatabaseError and BudgetsAwayError."""
        self.recorder.flush()
        budgets.write_down(what=self.store)


@cache
def desk() -> Desk:
    """The desk of this process."""
    return Desk(Books(), None, Recorder())


def ask(asks: Sequence[Ask], *, now: datetime, spend: bool = True) -> list[Answer]:
    """One answer per ask, in order; see `Desk.ask`."""
    return desk().ask(asks, now=now, spend=spend)


UNAVAILABLE = (DatabaseError, BudgetsAwayError)

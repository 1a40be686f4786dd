"""Permits: decide by the book, spend what was decided exactly, record, answer. Whoever asks, asks here.

REST, the Postfix services and the Stalwart hook all use one `Desk` per process.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache

from django.db import Error as DatabaseError

from reputation import budgets
from reputation.budgets import BudgetsAwayError, Spend, Store
from reputation.domain.permit import Action, Answer, Ask, Facts, Ruling, answer, cannot_know, decide
from reputation.domain.permit_book import PermitBook
from reputation.permit_facts import Books
from reputation.permit_record import Recorder

log = logging.getLogger(__name__)


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
        return self.spend(asks, book, now=now) if spend else [self._look(ask, book, now) for ask in asks]

    def spend(self, asks: Sequence[Ask], book: PermitBook, *, now: datetime) -> list[Answer]:
        """Decide by this book, spend, and record."""
        questions = [(ask, book.facts(ask, now)) for ask in asks]
        rulings = self._settle(questions, now)
        answers = [
            self._answer(ask, facts, ruling, book) for (ask, facts), ruling in zip(questions, rulings, strict=True)
        ]
        self.recorder.add(zip(asks, answers, strict=True), now=now)
        return answers

    def from_memory(self, ask: Ask, book: PermitBook, *, now: datetime, spend: bool) -> Answer | None:
        """The answer where nothing needs to be spent for it; None where something does."""
        facts = book.facts(ask, now)
        ruling = decide(ask, facts, {}, now)
        if spend and ruling.caps:
            return None
        answer = self._answer(ask, facts, ruling, book)
        if spend:
            self.recorder.add([(ask, answer)], now=now)
        return answer

    def too_many(self, ask: Ask, book: PermitBook, *, now: datetime) -> Answer:
        """The answer where more ask than can be answered in time."""
        facts = book.facts(ask, now)
        ruling = cannot_know(facts.policy, "More asked than could be answered.", now)
        answer = self._answer(ask, facts, ruling, book)
        self.recorder.add([(ask, answer)], now=now)
        return answer

    def _look(self, ask: Ask, book: PermitBook, now: datetime) -> Answer:
        facts = book.facts(ask, now)
        return self._answer(ask, facts, decide(ask, facts, {}, now), book)

    def _answer(self, ask: Ask, facts: Facts, ruling: Ruling, book: PermitBook) -> Answer:
        told = answer(ruling, facts.policy.mode, pool=book.pool_of(ask), provider=book.provider_of(ask))
        away = self.books.away_since
        if away is not None and ruling.action is not Action.ALLOW:
            told = replace(told, reason=f"{told.reason} (As of {book.at:%H:%M} UTC: the database is away.)")
        return told

    def _settle(self, questions: Sequence[tuple[Ask, Facts]], now: datetime) -> list[Ruling]:
        """Decide and spend, until every ask is held back or has what it needs."""
        known: dict[str, int] = {}
        rulings: dict[int, Ruling] = {}
        open_ = list(range(len(questions)))
        while open_:
            for number in open_:
                ask, facts = questions[number]
                rulings[number] = decide(ask, facts, known, now)
            wanting = [number for number in open_ if rulings[number].caps]
            spends = [Spend(questions[number][0].recipients, rulings[number].caps) for number in wanting]
            try:
                short = self.store.take(spends) if spends else []
            except BudgetsAwayError as error:
                log.error("budgets do not answer", extra={"error": str(error)})
                for number in wanting:
                    policy = questions[number][1].policy
                    rulings[number] = cannot_know(policy, "Nobody knows now what is spent.", now)
                break
            open_ = []
            for number, found in zip(wanting, short, strict=True):
                if found is not None:
                    # Each round learns of one more budget that has too little left, so this ends.
                    known[found.key] = max(found.spent, known.get(found.key, 0))
                    open_.append(number)
        return [rulings[number] for number in range(len(questions))]

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

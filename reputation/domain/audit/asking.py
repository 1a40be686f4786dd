"""How a plan asks DNS without doing it: a generator yields questions, is sent replies, and returns what it found."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """One DNS question."""

    name: str
    """Without the closing dot."""
    rdtype: str
    """A, AAAA, MX, PTR or TXT."""

    def __str__(self) -> str:
        return f"{self.name} {self.rdtype}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What is known of a question's answer."""

    records: tuple[str, ...] = ()
    """As text; the strings of a TXT record are joined, names keep their closing dot."""
    exists: bool = True
    """False: there is no such name (NXDOMAIN), and nothing below it either (RFC 8020)."""
    trouble: str = ""
    """Why nothing is known: SERVFAIL, a timeout. Never the same as "there is none"."""

    @property
    def is_void(self) -> bool:
        """There is certainly nothing: RFC 7208 section 4.6.4 calls that a void lookup."""
        return not self.trouble and not self.records

    @property
    def names(self) -> tuple[str, ...]:
        """The records as names: lower case, without the closing dot."""
        return tuple(record.rstrip(".").lower() for record in self.records)


Asking = Generator[Question, Reply, T]
NO_SUCH_NAME = Reply(exists=False)


def answered(plan: Asking[T], answers: Mapping[tuple[str, str], Reply]) -> T:
    """Run a plan on a table; what is not in it does not exist."""
    reply = None
    try:
        while True:
            question = plan.send(reply)  # type: ignore[arg-type]  # the first send of a generator is None
            reply = answers.get((question.name, question.rdtype), NO_SUCH_NAME)
    except StopIteration as end:
        found: T = end.value
        return found

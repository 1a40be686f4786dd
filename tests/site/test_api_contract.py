"""The API does what its OpenAPI document says: Schemathesis plays every operation against a served installation.

`make schemathesis` plays for longer, and with other requests each time; here they are the same ones each time.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.rig import Contract, contract

SEED = 7489  # RFC 7489; any other number draws other requests


@pytest.fixture
def played() -> Iterator[Contract]:
    with tempfile.TemporaryDirectory(prefix="gs-contract-") as folder, contract(Path(folder)) as served:
        yield served


@pytest.mark.slow
@pytest.mark.one_database
def test_every_operation_answers_as_the_document_says(played: Contract) -> None:
    done = played.play(f"--seed={SEED}", "--max-examples=5", "--no-shrink")
    assert done.returncode == 0, done.stdout[-20_000:] + played.house.logs()
    told = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", done.stdout)
    assert told is not None, done.stdout[-5_000:]
    assert len(set(told.groups())) == 1, "an operation was not tested"
    cases = re.search(r"(\d+) generated", done.stdout)
    assert cases is not None
    assert int(cases[1]) > 5_000

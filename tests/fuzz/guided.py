"""Fuzzing by coverage: atheris keeps the inputs that reach new lines and changes those on.

Bytes changed at random rarely stay JSON, so half of the changes are made to the value that was decoded.
"""

from __future__ import annotations

import copy
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.fuzz.seeds import HOSTILE, HOSTILE_BYTES, seeds_of

LONGEST_INPUT = 16_384
# An input that takes longer than this is a finding too: whoever may send it can keep a worker busy.
SLOWEST_SECONDS = 20


def run(name: str, seconds: int) -> None:
    """Fuzz until the time is up; ends the process, with a traceback and a code other than 0 when something escaped."""
    import atheris  # only for Linux: see pyproject.toml

    watched = ["telemetry.domain", "telemetry.parsers", "telemetry.esp", "anymail.webhooks"]
    with atheris.instrument_imports(include=watched):
        import django

        django.setup()
        from tests.fuzz import targets

    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds_of(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    (folder / "words").write_text("".join(f'"{_escaped(word)}"\n' for word in sorted(_words(name))), "ascii")
    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-timeout={SLOWEST_SECONDS}",
        f"-max_len={LONGEST_INPUT}",
        "-rss_limit_mb=1500",
        "-print_final_stats=1",
        f"-dict={folder / 'words'}",
        f"-artifact_prefix={folder}{os.sep}",
        str(corpus),
    ]

    def change(data: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5 and (changed := _restructured(data, chance)) is not None and len(changed) <= longest:
            return changed
        if chance.random() < 0.2:
            return _spliced(data, chance)[:longest]
        return bytes(atheris.Mutate(data, longest))

    atheris.Setup(arguments, lambda raw: targets.read(name, raw), custom_mutator=change)
    atheris.Fuzz()


def _words(name: str) -> set[bytes]:
    """Names of fields and short values, for the mutator to put in."""
    words = {word for word in HOSTILE_BYTES if len(word) < 30}
    for seed in seeds_of(name):
        for part in seed.replace(b"\r", b"\n").replace(b'"', b"\n").replace(b" ", b"\n").split(b"\n"):
            if 1 < len(part) < 40:
                words.add(part)
    return words


def _escaped(word: bytes) -> str:
    return "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\x{byte:02x}" for byte in word
    )  # fmt: skip


def _restructured(data: bytes, chance: random.Random) -> bytes | None:
    """The JSON text, or one line of it, with some values replaced, moved, doubled or left out; None if it is none."""
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    for which, text in ((None, data), (at, lines[at])):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if not isinstance(value, dict | list) or not value:
            continue
        for _ in range(chance.randint(1, 4)):
            _change_one(value, chance)
        changed = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
        if which is None:
            return changed
        return b"\n".join([*lines[:which], changed, *lines[which + 1 :]])
    return None


def _change_one(value: Any, chance: random.Random) -> None:
    place = value
    while True:
        if not place:
            return
        key = chance.choice(list(place)) if isinstance(place, dict) else chance.randrange(len(place))
        inner = place[key]
        # SES carries JSON within JSON.
        if isinstance(inner, str) and inner[:1] == "{" and chance.random() < 0.8:
            try:
                decoded = json.loads(inner)
            except (ValueError, RecursionError):
                decoded = None
            if isinstance(decoded, dict) and decoded:
                _change_one(decoded, chance)
                place[key] = json.dumps(decoded)
                return
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.2:
            break
        place = inner
    how = chance.randrange(6)
    if how == 0:
        del place[key]
    elif how == 1:
        place[key] = [copy.deepcopy(inner)]
    elif how == 2 and isinstance(place, list) and len(place) < 20:
        place.append(copy.deepcopy(inner))
    elif how == 3 and isinstance(inner, str):
        cut = chance.randrange(len(inner) + 1)
        more = chance.choice(HOSTILE)
        place[key] = inner[:cut] + (more if isinstance(more, str) else str(more)[:40]) + inner[cut:]
    elif how == 4 and isinstance(place, dict):
        place[key] = copy.deepcopy(place[chance.choice(list(place))])
    else:
        place[key] = copy.deepcopy(chance.choice(HOSTILE))


def _spliced(data: bytes, chance: random.Random) -> bytes:
    """Lines left out, doubled, exchanged or filled with hostile bytes."""
    lines = data.split(b"\n")
    for _ in range(chance.randint(1, 3)):
        at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        how = chance.randrange(4)
        if how == 0 and len(lines) > 1:
            del lines[at]
        elif how == 1:
            lines.insert(at, lines[other])
        elif how == 2:
            lines[at], lines[other] = lines[other], lines[at]
        else:
            cut = chance.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:cut] + chance.choice(HOSTILE_BYTES) + lines[at][cut:]
    return b"\n".join(lines)

"""Every command of the guides is typed into a real shell, against a served installation, and says what is printed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, Block, blocks, pages
from tests.e2e.house import House, house, until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")]

STATUS = "@@@ status"
BLOCK = "@@@ block"


def type_in(home: House, page: Path, before: str = "") -> dict[int, list[tuple[int, str]]]:
    """Run the page's blocks in one shell; (status, body) of each request, by the line of its block.

    `before` is typed first: what the page takes for granted.
    """
    shell = [block for block in blocks(page) if block.is_shell]
    (home.folder / "other").mkdir()
    script = "\n".join([before, *(f"echo '{BLOCK} {block.line}'\n{block.text}" for block in shell)])
    (home.folder / ".curlrc").write_text(
        f'silent\nshow-error\nmax-time = 60\nwrite-out = "\\n{STATUS} %{{http_code}}\\n"\n'
    )
    done = subprocess.run(
        [
            "bash",
            "-euo",
            "pipefail",
            "-c",
            script.replace("http://127.0.0.1:8000", home.url("")).replace("/mnt/other", str(home.folder / "other")),
        ],
        env=home.environment | {"CURL_HOME": str(home.folder), "HOME": str(home.folder)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{page.name}\n{done.stdout[-3000:]}\n{done.stderr}\n{home.logs()}"
    found: dict[int, list[tuple[int, str]]] = {}
    for part in done.stdout.split(f"{BLOCK} ")[1:]:
        line, _, output = part.partition("\n")
        *bodies, _ = re.split(rf"^{STATUS} (\d+)\n", output, flags=re.MULTILINE)
        found[int(line)] = [(int(status), body) for body, status in zip(bodies[::2], bodies[1::2], strict=True)]
    return found


def requests_of(block: Block) -> int:
    return len(re.findall(r"(?:^|\| *|\$\()\s*curl ", block.text, re.MULTILINE))


def differences(shown: Any, told: Any, at: str = "") -> list[str]:
    """Where an answer is not what the page shows. Objects may have more fields; "…" stands for anything."""
    if isinstance(shown, dict) and isinstance(told, dict):
        missing = [f"{at}.{key} is missing" for key in shown if key not in told]
        return missing + [
            entry for key in shown if key in told for entry in differences(shown[key], told[key], f"{at}.{key}")
        ]
    if isinstance(shown, list) and isinstance(told, list):
        if shown and shown[-1] == "…":
            shown, told = shown[:-1], told[: len(shown) - 1]
        if len(shown) != len(told):
            return [f"{at} has {len(told)} entries, not {len(shown)}"]
        return [
            entry
            for number, pair in enumerate(zip(shown, told, strict=True))
            for entry in differences(*pair, f"{at}[{number}]")
        ]
    if isinstance(shown, str) and "…" in shown and isinstance(told, str):
        pattern = ".*".join(re.escape(part) for part in shown.split("…"))
        return [] if re.fullmatch(pattern, told, re.DOTALL) else [f"{at} is {told!r}, not {shown!r}"]
    if shown == "…":
        return []
    return [] if shown == told else [f"{at} is {told!r}, not {shown!r}"]


def check(page: Path, answered: dict[int, list[tuple[int, str]]]) -> int:
    """Every request succeeded unless the page shows its refusal, and answered what is shown; how many requests."""
    problems, number = [], 0
    last: tuple[int, str] | None = None
    told = blocks(page)
    for block, following in zip(told, [*told[1:], Block(0, "")], strict=True):
        if block.is_shell:
            answers = answered[block.line]
            assert len(answers) == requests_of(block), (page.name, block.line, answers)
            number += len(answers)
            refused = re.search(r'"status": ([45]\d\d)', following.text) if following.is_answer else None
            for position, (status, body) in enumerate(answers):
                expected = refused is not None and position == len(answers) - 1
                if (status != int(refused[1])) if expected and refused else not 200 <= status < 300:
                    problems.append(f"line {block.line}, request {position + 1}: {status} {body[:500]}")
            last = answers[-1] if answers else last
        elif block.is_answer:
            assert last is not None, (page.name, block.line)
            problems += [
                f"line {block.line}: {entry}" for entry in differences(json.loads(block.text), json.loads(last[1]))
            ]
            last = None
    assert not problems, f"{page.relative_to(ROOT)}\n" + "\n".join(problems)
    return number


SEED = """
from django.contrib.auth.models import User
from telemetry.models import Source
from telemetry.tokens import issue_api_token, issue_token
from reputation.models import Pool
Pool.objects.create(name="news")
print(issue_token(Source.objects.create(name="sample", kind="documented")))
print(issue_api_token(User.objects.create_superuser("admin", "admin@example.com", "correct horse battery")))
"""
JUDGE = """
from django.utils import timezone
from reputation import alert_watch
from reputation.scores import score_senders
from reputation.standing import score_ips
score_ips(now=timezone.now())
score_senders(now=timezone.now())
alert_watch.tick(now=timezone.now())
"""


def seeded(home: House) -> str:
    """An installation with an admin, a source and a pool; the shell's words for them."""
    source, person = home.manage("shell", "--no-imports", "-c", SEED).split()
    home.start("web")
    until(home.answers, seconds=60, what=f"the web process did not answer\n{home.logs()}")
    words = {"HOST": home.url(""), "SOURCE": f"Authorization: Bearer {source}", "ME": f"Authorization: Bearer {person}"}
    return "\n".join(f"{name}='{value}'" for name, value in (words | {"TOKEN": source}).items())


def judged_mail(home: House, words: str) -> None:
    """Send the sample of docs/standing.md and have it judged: 192.0.2.10 is quarantined, and an alert says so."""
    token = words.rpartition("TOKEN='")[2].strip("'")
    events = (ROOT / "docs/examples/refused-window.ndjson").read_text().replace("NOW", datetime.now(UTC).isoformat())
    status, answer = home.post("/api/events", token, [json.loads(line) for line in events.splitlines()])
    assert (status, answer["processed"]) == (200, 101)
    home.manage("shell", "--no-imports", "-c", JUDGE)


def test_the_worked_example_of_standing_is_what_the_product_answers(tmp_path: Path) -> None:
    page = ROOT / "docs/standing.md"
    with house(tmp_path) as home:
        assert check(page, type_in(home, page, seeded(home))) == 2
        judged = home.manage("score", "--ip", "192.0.2.10")
    (shown,) = [json.loads(block.text) for block in blocks(page) if block.is_answer and "why" in block.text]
    assert judged.split(maxsplit=2)[1:] == ["quarantine", f"{shown['why']}\n"]


@pytest.mark.one_database
def test_the_command_of_the_readme_is_taken(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    with house(tmp_path) as home:
        assert check(page, type_in(home, page, seeded(home))) == 1


# What a guide takes for granted beside the judged sample.
POST = 'curl -H "$ME" -H "Content-Type: application/json"'
TAKEN_FOR_GRANTED = {
    "docs/api.md": "",
    "docs/permits.md": "",
    "docs/warmup.md": "",
    "docs/runbooks/quarantined-at-gmail.md": "",
    "docs/runbooks/listed-at-spamhaus.md": "",
    "docs/runbooks/warm-up-stuck.md": f"""{POST} $HOST/api/warmups/start \\
        -d '{{"sending_ip": "192.0.2.10", "template": "default", "reason": "a new machine"}}'""",
    "docs/runbooks/source-silent.md": "",
    "docs/runbooks/database-full.md": "",
}


@pytest.mark.one_database
@pytest.mark.parametrize("name", TAKEN_FOR_GRANTED)
def test_the_commands_of_a_guide_do_what_it_says(tmp_path: Path, name: str) -> None:
    page = ROOT / name
    with house(tmp_path) as home:
        words = seeded(home)
        judged_mail(home, words)
        assert check(page, type_in(home, page, f"{words}\n{TAKEN_FOR_GRANTED[name]}")) > 0


def test_every_guide_with_a_request_is_typed_in() -> None:
    asking = {
        str(page.relative_to(ROOT)) for page in pages() if any(requests_of(one) for one in blocks(page) if one.is_shell)
    }
    assert asking == {"README.md", "docs/standing.md", *TAKEN_FOR_GRANTED}

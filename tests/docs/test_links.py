"""What the documentation points at is there: files, headings, commands, pages, endpoints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.urls import Resolver404, resolve

from tests.docs.pages import ROOT, anchors, blocks, links, pages, pictures

PAGES = pages()
_EXAMPLES = {"{ip}": "192.0.2.10", "{domain}": "shop.example", "{id}": "1", "{prefix}": "abc", "{esp}": "postmark"}
_VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Folders of machines, and pages of other servers.
_ELSEWHERE = (
    "/etc/",
    "/var/",
    "/run/",
    "/mnt/",
    "/usr/",
    "/metrics/",
    "/metrics.json",
    "/data",
    "/tmp",
    "/opt/",
    "/srv/",
)
names = [str(page.relative_to(ROOT)) for page in PAGES]
every_page = pytest.mark.parametrize("page", PAGES, ids=names)


@every_page
def test_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{path}#{anchor}")
    assert not broken


@every_page
def test_commands_and_their_options_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    known = get_commands()
    for command, rest in re.findall(r"manage\.py\s+([a-z_]+)([^`\n|;)]*)", text):
        assert command in known, command
        parser = load_command_class(known[command], command).create_parser("manage.py", command)
        options = {option for action in parser._actions for option in action.option_strings}
        assert set(re.findall(r"(?<!\S)(--[a-z-]+)", rest)) <= options, (command, rest)
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"(?:`|^    )make ([a-z][a-z-]*)", text, re.MULTILINE):
        assert target in targets, target


def urls_in(page: Path) -> set[str]:
    """Paths of ours in code spans and in commands."""
    text = page.read_text(encoding="utf-8")
    found = {span.removeprefix(f"{verb} ") for span in re.findall(r"`([^`\n]+)`", text) for verb in (*_VERBS, "")}
    found = {
        path for path in found if re.fullmatch(r"/[\w/.:…{}%-]*(?:\?\S*)?", path) and not path.startswith(_ELSEWHERE)
    }
    for block in blocks(page):
        found |= set(re.findall(r"\$HOST(/[^\s\"'?#]*)", block.text)) if block.is_shell else set()
    return {path.partition("?")[0] for path in found} - {"/api/"}


def is_served(path: str) -> bool:
    """Whether the path is routed; "…" stands for a number or for any of several ends."""
    if "…" in path:
        return any(is_served(path.replace("…", end)) for end in ("1", "1/", "192.0.2.10", "test-cases"))
    for word, example in _EXAMPLES.items():
        path = path.replace(word, example)
    try:
        # The API answers whatever nobody has named with a 404 of its own.
        return resolve(path).func.__name__ != "no_such_endpoint"
    except Resolver404:
        return False


@every_page
def test_pages_and_endpoints_exist(page: Path) -> None:
    # What has no page of its own may be what others begin with.
    assert [path for path in sorted(urls_in(page)) if not is_served(path) and not is_served(f"{path}/…")] == []


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs/README.md"
    listed = {(index.parent / path).resolve() for path, _ in links(index)}
    runbooks = ROOT / "docs/runbooks/README.md"
    listed |= {(runbooks.parent / path).resolve() for path, _ in links(runbooks)}
    assert [
        str(page.relative_to(ROOT))
        for page in PAGES
        if page not in listed and page != ROOT / "README.md" and page != index
    ] == []


def test_pictures_are_small_and_say_what_they_show() -> None:
    shown = []
    for page in PAGES:
        for path, alt in pictures(page):
            picture = (page.parent / path).resolve()
            assert len(alt) > 30, (page.name, path)
            assert picture.read_bytes().startswith(b"\x89PNG"), path
            assert picture.stat().st_size < 250_000, path
            shown.append(picture)
    assert len(shown) >= 3
    assert set(shown) >= set((ROOT / "docs/images").iterdir())


def test_what_a_runbook_says_to_press_or_to_look_at_is_called_so() -> None:
    """Words in italics that begin with a capital are names of buttons and lists."""
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("templates", "dashboard", "reputation", "telemetry")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".html", ".py"} and "migrations" not in path.parts
    ).lower()
    texts = [page.read_text(encoding="utf-8") for page in (ROOT / "docs/runbooks").glob("*.md")]
    names = {name for text in texts for name in re.findall(r"(?<!\*)\*([A-Z][^*\n]+)\*(?!\*)", text)}
    assert len(names) > 3
    assert {name for name in names if name.lower() not in code} == set()


def test_alert_kinds_and_background_tasks_that_are_named_exist() -> None:
    from reputation.domain.alerting import Kind
    from reputation_site.celery import app

    app.loader.import_default_modules()
    index = (ROOT / "docs/runbooks/README.md").read_text(encoding="utf-8")
    told = {
        word
        for cell in re.findall(r"^\| \[.*\| (.*) \|$", index, re.MULTILINE)
        for word in re.findall(r"`(\w+)`", cell)
    }
    assert {"listing", "disk"} <= told <= {kind.value for kind in Kind}
    for page in (ROOT / "docs/runbooks").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"alerts? of the kind `(\w+)`|one of the kind `(\w+)`", text))
        assert {kind for pair in named for kind in pair if kind} <= {kind.value for kind in Kind}
        assert set(re.findall(r"celery -A reputation_site call ([\w.]+)", text)) <= set(app.tasks)

"""What the documentation points at is there: files, headings, commands, pages, endpoints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.urls import Resolver404, resolve

from tests.docs.pages import ROOT, anchors, blocks, links, pages

PAGES = pages()
_EXAMPLES = {"{ip}": "192.0.2.10", "{domain}": "shop.example", "{id}": "1", "{prefix}": "abc", "{esp}": "postmark"}
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
    for target in re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE):
        assert target in targets, target


def urls_in(page: Path) -> set[str]:
    """Paths of ours in code spans and in commands."""
    text = page.read_text(encoding="utf-8")
    spans = [span for span in re.findall(r"`([^`]+)`", text) if not span.startswith("/run/")]
    spans += [block.text for block in blocks(page) if block.is_shell]
    found = set()
    for span in spans:
        for path in re.findall(
            r"(?:^|\s|\$HOST|\"\$HOST)(/(?:api|admin|ips|domains|alerts|warmups|breakers|providers|sources|pools|blocklists|scenarios|search|files|changes)(?:/[^\s`\"'?#]*)?)",
            span,
        ):
            found.add(path.rstrip(",;:"))
    return found - {"/api/"}


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
    assert [path for path in sorted(urls_in(page)) if not is_served(path)] == []


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

"""What a reader of the repository would look for first: unescaped HTML, unlocked packages, secrets."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ("dashboard", "reputation", "reputation_site", "telemetry")
# Calls that declare text to be HTML. Ruff's S308 knows the first alone.
DECLARES_HTML = {"mark_safe", "SafeString", "SafeText"}
UNESCAPED = re.compile(r"\|\s*(?:safe|safeseq)\b|\{%-?\s*autoescape\s+off")
SECRETS = re.compile(
    r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"
    r"|\bgs_[a-z0-9]{12}_[A-Za-z0-9_-]{43}\b"  # our own tokens
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    r"|\bxox[abprs]-[0-9]+-[0-9A-Za-z-]{20,}"
    r"|\bglpat-[A-Za-z0-9_-]{20}\b"
    r"|\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b"
)


def tracked() -> list[Path]:
    """The files that the repository holds, and those that will be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def python_files() -> Iterator[Path]:
    for folder in CODE:
        yield from (ROOT / folder).rglob("*.py")


def test_text_is_declared_html_only_where_it_is_written_out() -> None:
    wrong = []
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            literal = len(node.args) == 1 and isinstance(node.args[0], ast.Constant)
            if (name in DECLARES_HTML and not literal) or (
                # Its first argument is a pattern that is not escaped.
                name == "format_html" and not (node.args and isinstance(node.args[0], ast.Constant))
            ):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []


def test_templates_escape_everything() -> None:
    pages = list((ROOT / "templates").rglob("*.*")) + [
        path for folder in CODE for path in (ROOT / folder).rglob("*.html")
    ]
    assert len(pages) > 20
    wrong = [str(path.relative_to(ROOT)) for path in pages if UNESCAPED.search(path.read_text())]
    assert wrong == []


@pytest.mark.parametrize("text", ["{{ name|safe }}", "{{ names | safeseq }}", "{% autoescape off %}"])
def test_the_search_knows_what_it_looks_for(text: str) -> None:
    assert UNESCAPED.search(text)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_locked_package_is_pinned_by_hash_and_names_no_index(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "index-url" not in text
    assert not re.search(r"https?://", text)
    packages = [entry for entry in re.split(r"\n(?=\S)", text) if entry.strip() and not entry.startswith("#")]
    assert len(packages) > 20
    for package in packages:
        first = package.splitlines()[0]
        assert re.match(r"[A-Za-z0-9._-]+(?:\[[a-z0-9,-]+\])?==\S+", first), first
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", package), first


def test_the_repository_holds_no_secret() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match.group()[:12]}…" for match in SECRETS.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    "parts",
    [("-----BEGIN ", "PRIVATE KEY-----"), ("-----BEGIN RSA ", "PRIVATE KEY-----"), ("gs_" + "a" * 12, "_" + "b" * 43)],
)
def test_a_secret_would_be_found(parts: tuple[str, str]) -> None:
    assert SECRETS.search("".join(parts))

"""The documentation as data: its files, links, code blocks and what they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SHELL = re.compile(r"(?:curl|sed|python|export|HOST=|[A-Z_]+=)")


def pages() -> list[Path]:
    """README and everything below docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    """An indented block: commands, or what they answer."""

    line: int
    text: str

    @property
    def is_shell(self) -> bool:
        """Whether it is to be typed into a shell."""
        return _SHELL.match(self.text) is not None

    @property
    def is_answer(self) -> bool:
        """Whether it shows JSON."""
        return self.text.startswith(("{", "["))


def blocks(page: Path) -> list[Block]:
    """The indented code blocks of a page, those inside a list too."""
    found: list[Block] = []
    held: list[str] = []
    start, inside, blank = 0, False, True
    for number, line in enumerate([*page.read_text(encoding="utf-8").splitlines(), ""], 1):
        indented = line.startswith("    ")
        if inside and not indented:
            margin = min(len(row) - len(row.lstrip()) for row in held)
            found.append(Block(start, "\n".join(row[margin:] for row in held)))
            inside = False
        elif not inside and indented and blank:
            inside, start, held = True, number, []
        if inside:
            held.append(line)
        blank = not line.strip()
    return found


def links(page: Path) -> Iterator[tuple[str, str]]:
    """(path, anchor) of every relative link of a page, images included."""
    prose = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    for target in [*re.findall(r"\]\(([^)\s]+)\)", prose), *(path for path, _ in pictures(page))]:
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor


def pictures(page: Path) -> list[tuple[str, str]]:
    """(path, alternative text) of every picture."""
    text = page.read_text(encoding="utf-8")
    found = [(path, alt) for alt, path in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text)]
    return found + re.findall(r'<img src="([^"]+)"[^>]* alt="([^"]*)"', text)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ +(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    words = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", head).lower() for head in heads)
    return {re.sub(r"[^\w\- ]", "", word).replace(" ", "-") for word in words}

"""The code blocks of a Markdown file, in order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block; `reason` says why it is not run, "" where it is. `line` is where it starts."""

    language: str
    text: str
    reason: str
    line: int

    @property
    def commands(self) -> list[str]:
        """The lines behind the prompts of a console block."""
        return [line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ ")]


def documents() -> list[Path]:
    """The README, that of the C++ side, and every page of the site."""
    pages = (page for page in (ROOT / "docs").rglob("*.md") if "build" not in page.relative_to(ROOT).parts)
    return [ROOT / "README.md", ROOT / "plugins_trt" / "README.md", ROOT / "CONTRIBUTING.md", *sorted(pages)]


def blocks(document: Path) -> list[Block]:
    """Every block that holds code."""
    text = document.read_text(encoding="utf-8")
    return [
        Block(found["language"], found["text"], found["reason"] or "", text[: found.start("language")].count("\n") + 1)
        for found in _FENCE.finditer(text)
    ]

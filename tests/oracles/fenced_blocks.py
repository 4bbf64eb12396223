"""The fenced blocks of a Markdown page: its examples, for tests that run them."""

import re
from typing import NamedTuple

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One example."""

    language: str
    """First word after the fence, such as ``python``; empty: none."""
    title: str
    """What follows it, such as the name of a file."""
    text: str
    line: int
    """Line of the page where its text begins."""


def fenced_blocks(page: str) -> list[Block]:
    """Return the blocks of a page, in order."""
    blocks = []
    for match in _FENCE.finditer(page):
        language, _, title = match["info"].strip().partition(" ")
        line = page.count("\n", 0, match.start("text")) + 1
        blocks.append(Block(language, title.strip(), match["text"], line))
    return blocks

# SPDX-License-Identifier: MIT
"""Reads the project's Markdown pages: fenced blocks of commands with the comment above them, headings, links."""

import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

BLOCK = re.compile(r"(?:^<!-- (?P<marker>.*?) -->\n)?^```sh\n(?P<commands>.*?)^```$", re.M | re.S)
FENCE = re.compile(r"^( *)```.*?^\1```$", re.M | re.S)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)|<(?:img|a)\b[^>]*?(?:src|href)=\"([^\"]+)\"")


@dataclasses.dataclass(frozen=True)
class Block:
    """One ```sh block. `kind` and `what` are the two halves of the comment above it, `run` and "" without one."""

    page: str  # relative to the root
    line: int  # of the first command
    kind: str
    what: str
    commands: str

    def __str__(self):
        return f"{self.page}:{self.line}"


def all_pages(root=ROOT):
    """Every page that is checked, as paths relative to `root`."""
    top = [name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md") if (root / name).is_file()]
    return top + sorted(path.relative_to(root).as_posix() for path in (root / "docs").rglob("*.md"))


def blocks_of(page, text):
    """The blocks of commands of one page, in its order."""
    blocks = []
    for found in BLOCK.finditer(text):
        kind, _, what = (found["marker"] or "run").partition(":")
        line = text.count("\n", 0, found.start("commands")) + 1
        blocks.append(Block(page, line, kind.strip(), what.strip(), found["commands"]))
    return blocks


def without_code(text):
    """The same lines with fenced blocks and code spans blanked."""
    blank = lambda found: re.sub(r"[^\n]", " ", found[0])
    return re.sub(r"`[^`\n]+`", blank, FENCE.sub(blank, text))


def spans_of(text):
    """Yields (line, text) of every code span outside fenced blocks."""
    plain = FENCE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    for found in re.finditer(r"`([^`\n]+)`", plain):
        yield plain.count("\n", 0, found.start()) + 1, found[1]


def anchors_of(text):
    """What a link into the page can name after "#", by the rules of the usual hosts of repositories."""
    anchors, seen = set(), {}
    for heading in re.findall(r"^#{1,6} +(.*?) *#*$", FENCE.sub("", text), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = seen.get(name, 0)
        seen[name] = count + 1
        anchors.add(name if count == 0 else f"{name}-{count}")
    return anchors | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def links_of(text):
    """Yields (line, target) of every link and image outside code."""
    plain = without_code(text)
    # A link's text may be a code span, so links are looked for where those are blanked, which keeps the brackets.
    for found in LINK.finditer(plain):
        yield plain.count("\n", 0, found.start()) + 1, found[1] or found[2]


def link_findings(root=ROOT):
    """Yields `page:line: what is wrong` for every link of the pages that leads nowhere."""
    texts = {page: (root / page).read_text() for page in all_pages(root)}
    for page, text in texts.items():
        for line, target in links_of(text):
            if re.match(r"[a-z]+:", target):
                continue  # to another place, which a test without a network cannot know
            path, _, anchor = target.partition("#")
            aim = (root / page).parent / path if path else root / page
            if not aim.exists():
                yield f"{page}:{line}: {target} is not there"
            elif anchor and aim.suffix == ".md" and anchor not in anchors_of(aim.read_text()):
                yield f"{page}:{line}: {path or page} has no heading #{anchor}"

"""The words that CONTRIBUTING.md lists as not used are not used in sources and docs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORDS = [
    word.strip()
    for row in re.findall(r"^\| (.+?) \| .+ \|$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    if row != "not"
    for word in row.split(",")
]
SOURCES = sorted(
    path
    for pattern in (
        "eicompress/**/*.py",
        "plugins/**/*.py",
        "plugins/**/*.md",
        "docs/**/*.md",
        "tests/**/*.py",
        "studies/**/*.py",
        "*.md",
    )
    for path in ROOT.glob(pattern)
    if path.name not in ("CONTRIBUTING.md", "CHANGELOG.md", "test_language.py")
)


def uses(text: str, word: str) -> list[str]:
    """The places where a text uses a word, also where a line ends inside it."""
    spaced = r"(?:\s+(?:#\s+)?)".join(map(re.escape, word.split()))
    return [match.group() for match in re.finditer(rf"(?<![a-zA-Z]){spaced}(?![a-zA-Z])", text, re.IGNORECASE)]


def test_there_are_words_and_sources_to_compare() -> None:
    assert {"told", "whoever", "so many", "nobody said"} <= {*WORDS} and len(SOURCES) > 200


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_is_not_used_is_not_used(word: str) -> None:
    found = {str(path.relative_to(ROOT)): uses(path.read_text(encoding="utf-8"), word) for path in SOURCES}
    assert {name: words for name, words in found.items() if words} == {}


def test_a_word_is_found_across_lines_and_not_inside_others() -> None:
    assert uses("waits for so\n    many looks", "so many") == ["so\n    many"]
    assert uses("# one of so\n# many", "so many") == ["so\n# many"]
    assert uses("the threshold, _told and untolds", "told") == ["told"]

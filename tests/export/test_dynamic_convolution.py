"""Files with dynamic convolutions and grouped matrices answer as their models do."""

import copy

import numpy as np
import numpy.typing as npt
import pytest
import torch

from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import Bits, QuantSpec
from eicompress.export.emit import emit
from eicompress.runtime import session
from tests.encoder.test_convolution import LENGTHS, mixed_encoder, texts


def answered(model: Encoder, *rows: int) -> npt.NDArray[np.float32]:
    """The file's logits of these texts, in one batch that is no longer than they are."""
    ids, mask, _ = texts()
    length = max(LENGTHS[row] for row in rows)
    given = {"input_ids": ids[list(rows), :length].numpy(), "attention_mask": mask[list(rows), :length].numpy()}
    found: npt.NDArray[np.float32] = session(emit(model, pairs=False).SerializeToString()).run(["logits"], given)[0]
    return found


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("groups", [1, 4])
def test_the_file_answers_as_the_model_alone_and_padded(groups: int, pooling: str) -> None:
    model = mixed_encoder(groups)
    if pooling == "mean":
        model.pool_by_mean()
    expected = model(*texts()).detach().numpy()
    assert np.abs(answered(model, *range(len(LENGTHS))) - expected).max() < 1e-4
    for row in range(len(LENGTHS)):
        assert np.abs(answered(model, row)[0] - expected[row]).max() < 1e-4


@pytest.mark.parametrize("bits", [8, 4, 2, "ternary"])
def test_a_quantized_file_answers_as_the_model(bits: Bits) -> None:
    model = mixed_encoder(2)
    model.set_quantization(QuantSpec(8), QuantSpec(bits))
    model.round_floats()
    expected = model(*texts()).detach().numpy()
    for row in range(len(LENGTHS)):
        assert np.abs(answered(model, row)[0] - expected[row]).max() < 1e-3


def stored(model: Encoder, bits: Bits | None) -> int:
    """Bytes of the layers' matrices in the file."""
    made = copy.deepcopy(model)
    made.set_quantization(None, None if bits is None else QuantSpec(bits))
    return sum(
        len(each.raw_data)
        for each in emit(made, pairs=False).graph.initializer
        if each.name.startswith("L") and len(each.dims) > 1 and each.dims[-1] not in (1, 5)
    )


@pytest.mark.parametrize("bits", [None, 8, 4, 2])
def test_groups_cut_the_bytes_of_a_block_by_their_number(bits: Bits | None) -> None:
    one, two, four = (stored(mixed_encoder(groups, layers=1), bits) for groups in (1, 2, 4))
    block = 2 * 16 * 32 * (4 if bits is None else bits / 8)
    assert (one - two, one - four) == (block / 2, block * 3 / 4)


def test_what_lies_beyond_a_text_does_not_move_a_quantized_answer() -> None:
    model = mixed_encoder()
    ids, mask, types = texts((4,))
    expected = model(ids, mask, types)
    padded = [torch.nn.functional.pad(each, (0, 5), value=value) for each, value in ((ids, 7), (mask, 0), (types, 0))]
    model.set_quantization(QuantSpec(8), QuantSpec(8))
    assert torch.allclose(model(*padded), model(ids, mask, types), atol=1e-5)
    assert not torch.equal(model(ids, mask, types), expected)

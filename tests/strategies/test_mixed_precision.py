import pytest
import torch

from eicompress.encoder.linear import Linear
from eicompress.export.emit import emit
from eicompress.strategies import mixed_precision
from eicompress.strategies.mixed_precision import BITS, MixedPrecision, assigned
from tests.conftest import ContextMaker, sampled, tiny_candidate

WIDE = {"embedding": 64, "hidden": 64}


def bits_of(model: torch.nn.Module) -> dict[str, int]:
    return {name: each.spec.bits for name, each in model.named_modules() if isinstance(each, Linear)}


def test_bits_go_where_a_byte_saves_most_loss() -> None:
    matrices = {name: Linear(64, 100) for name in "abc"}
    losses = {
        "a": {2: 5.0, 4: 0.1, 8: 0.0},
        "b": {2: 0.2, 4: 0.1, 8: 0.0},
        "c": {2: 0.0, 4: 0.0, 8: 0.0},
    }
    whole = 3 * 6400
    assert assigned(matrices, losses, whole) == {"a": 8, "b": 8, "c": 2}
    assert assigned(matrices, losses, 0.4 * whole) == {"a": 4, "b": 2, "c": 2}
    assert assigned(matrices, losses, 0.0) == {"a": 2, "b": 2, "c": 2}


def test_few_weights_are_not_worth_unpacking() -> None:
    losses = {"small": {bits: 0.0 for bits in BITS}}
    assert assigned({"small": Linear(24, 8)}, losses, 1e6) == {"small": 8}


@pytest.mark.parametrize(("mean_bits", "shapes"), sampled(3, (2.0, 3.0, 4.0, 5.5, 8.0), ({}, WIDE)))
def test_a_preview_is_an_upper_bound_and_no_loose_one(
    make_context: ContextMaker, mean_bits: float, shapes: dict[str, int]
) -> None:
    sizes = []
    for preview in (True, False):
        made = MixedPrecision(mean_bits).apply(tiny_candidate(**shapes), make_context(preview=preview))
        sizes.append(emit(made.model, pairs=False).ByteSize())
    assert 0.6 * sizes[0] < sizes[1] <= sizes[0]


def test_the_sensitive_matrix_gets_more_bits_and_the_record_says_why(make_context: ContextMaker) -> None:
    candidate = tiny_candidate(**WIDE)
    candidate.model.layer(1).ffn.output.weight.data[:, :2] *= 30  # few bits for the rest of each row
    made = MixedPrecision(4.0).apply(candidate, make_context())
    table = made.facts["mixed_precision"]["matrices"]
    found = bits_of(made.model)
    assert {name: table[name]["bits"] for name in found} == found and len(set(found.values())) > 1
    row = table["layers.1.ffn.output"]
    assert row["loss"]["2"] > row["loss"]["4"] > row["loss"]["8"] >= 0
    assert row["bytes"] == {"2": 64 * 8, "4": 64 * 16, "8": 64 * 32}
    assert made.facts["mixed_precision"]["mean_bits"] <= 4.0


def test_sensitivity_is_measured_once(make_context: ContextMaker) -> None:
    context = make_context()
    keys: list[str] = []

    def cache(key, compute):  # type: ignore[no-untyped-def]
        keys.append(key)
        return context.cache(key, compute)

    from dataclasses import replace

    watched = replace(context, cache=cache)
    for bits in (3.0, 6.0):
        MixedPrecision(bits).apply(tiny_candidate(), watched)
    assert len(keys) == 2 and len(set(keys)) == 1


def test_only_bits_that_save_bytes_are_measured(make_context: ContextMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def lowered(module: Linear, bits: int):  # type: ignore[no-untyped-def]
        asked.append((module.weight.numel(), bits))
        return lower(module, bits)

    lower = mixed_precision._lowered
    monkeypatch.setattr(mixed_precision, "_lowered", lowered)
    made = MixedPrecision(4.0).apply(tiny_candidate(**WIDE), make_context())
    table = made.facts["mixed_precision"]["matrices"].values()
    choices = sorted(bits for each in table for bits in each["bytes"] if len(each["bytes"]) > 1)
    assert sorted(str(bits) for _, bits in asked) == choices and asked
    assert all(weights > 533 for weights, _ in asked), "400 bytes unpack a matrix of 4 bits: no smaller one saves any"
    assert any(len(each["bytes"]) == 1 for each in table)

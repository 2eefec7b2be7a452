from pathlib import Path

import pytest
from my_strategy import MyStrategy

from eicompress.encoder.quantization import QuantSpec, quantized, row_scales
from eicompress.plugins import discover
from eicompress.testing import Claim, strategy_checks, tiny_candidate, tiny_context


@pytest.mark.parametrize("claim", strategy_checks(MyStrategy), ids=str)
def test_claim(claim: Claim) -> None:
    claim()


def test_it_is_found() -> None:
    assert discover().strategy("my_strategy") is MyStrategy


@pytest.mark.parametrize("of", ["row", "table"])
def test_an_outlier_costs_the_other_numbers_less(of: str, tmp_path: Path) -> None:
    def error_in_4_bits(clip: bool) -> float:
        subject = tiny_candidate()
        table = subject.model.words.weight
        table.data[:, 0] = 20 * table.std()
        others = table[:, 1:].detach().clone()
        if clip:
            MyStrategy(deviations=3.0, of=of).apply(subject, tiny_context(tmp_path))
        scales = row_scales(table, QuantSpec(4), "minmax")
        stored = quantized(table.detach(), scales, QuantSpec(4)) * scales
        return float((stored[:, 1:] - others).square().mean())

    assert error_in_4_bits(clip=True) < error_in_4_bits(clip=False)

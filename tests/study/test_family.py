"""Which super-network a part came from, and what its axes buy."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from eicompress.reporting.super_networks import super_networks
from eicompress.study.family import knobs_of
from eicompress.study.objective import Objective
from eicompress.study.result import Result
from eicompress.values import SHARED, Measurement, Record, Rung


def part(layers: int, width: float, key: str = "one", seen: int = 2) -> Record:
    """Each layer more is worth 3 points and 0.2 MB, the whole width 1 point and 0.5 MB."""
    quality, size = 0.8 + 0.03 * layers + 0.01 * width, 0.1 + 0.2 * layers + 0.5 * width
    recipe = (
        {"strategy": "quantization", "layer_bits": 2},
        {"strategy": "super_network", "epochs": 3.0},
        {"strategy": "subnetwork", "layers": layers, "neurons": width, "heads": 1.0},
    )
    return Record(
        recipe,
        draw=0,
        outcome="complete" if seen == 2 else "stopped early",
        trained=True,
        only_shared=True,
        rungs=tuple(Rung(share, quality, 1.0) for share in (0.2, 1.0)[:seen]),
        # What all validation texts say is not what the axes are judged by, since few parts have it.
        measurements=(Measurement("quality", quality - 0.1 * (seen == 2), ""), Measurement("size_mb", size, "MB")),
        facts={SHARED: {"key": key, "steps": 2}},
    )


def of(records: list[Record]) -> Result:
    objective = Objective("pareto", {}, ("quality", "size_mb"))
    return Result(Path("s"), objective, None, dict(enumerate(records)), {}, 0.0)


def test_an_axis_buys_what_a_fit_over_all_parts_says() -> None:
    parts = [
        part(layers, width, seen=1 + (layers + place) % 2)
        for (place, width), layers in itertools.product(enumerate((0.25, 0.5, 1.0)), (1, 2, 3))
    ]
    (family,) = of(parts).families
    layers, neurons = family.axes
    assert (layers.name, layers.low, layers.high) == ("subnetwork.layers", 1.0, 3.0)
    assert (layers.quality, layers.size_mb) == pytest.approx((0.06, 0.4))
    assert layers.per_100_kb == pytest.approx(0.015)
    assert neurons.name == "subnetwork.neurons" and (neurons.quality, neurons.size_mb) == pytest.approx((0.0075, 0.375))
    assert family.trials == tuple(range(9)) and set(family.front) <= {0, 2, 4, 6, 8}
    assert [step["strategy"] for step in family.steps] == ["quantization", "super_network"]


def test_a_report_shows_the_parts_on_the_front_and_what_axes_buy() -> None:
    shown = super_networks(
        of([part(layers, width) for layers, width in itertools.product((1, 2, 3), (0.25, 0.5, 1.0))])
    )
    assert "its 9 parts" in shown and "quantization, super network" in shown
    assert "+6.00" in shown and "+0.400" in shown and "+1.50" in shown
    assert "trained by itself" not in shown
    assert super_networks(of([])) == ""


def test_a_report_shows_what_training_a_part_by_itself_made_of_it() -> None:
    before = part(1, 0.5)
    finished = replace(
        before,
        recipe=(*before.recipe, {"strategy": "distillation"}),
        measurements=(Measurement("quality", 0.8765, ""), *before.measurements[1:]),
        rungs=(),
    )
    shown = super_networks(replace(of([before, part(3, 1.0)]), rebuilds={0: (finished,)}))
    assert "trained by itself" in shown and "87.65%" in shown and "73.50%" in shown


def test_each_super_network_has_its_own_parts_and_few_parts_tell_nothing_of_an_axis() -> None:
    made = of([part(1, 0.5), part(2, 0.5, "other"), part(3, 0.5)]).families
    assert [(each.key, each.trials, each.axes) for each in made] == [("one", (0, 2), ()), ("other", (1,), ())]
    plain = Record((), draw=0, outcome="complete", trained=True)
    assert of([plain]).families == []
    assert knobs_of(part(2, 0.5)) == {"subnetwork.layers": 2, "subnetwork.neurons": 0.5, "subnetwork.heads": 1.0}

import itertools
import math
from dataclasses import replace

import pytest
from test_report_data import found, said, simple, trial

from eicompress.reporting import artifact_figures, figures, search_figures
from eicompress.reporting.anatomy import OPERATORS
from eicompress.reporting.figure_parts import GREY
from eicompress.study.objective import built_in

SIZE, LATENCY = (built_in()[name] for name in ("size_mb", "latency_ms"))


def traces(figure: object) -> dict[str, object]:
    return {trace.name: trace for trace in figure.data if trace.name}  # type: ignore[attr-defined]


STUDY = found(
    trial(1.0, 0.5, 0.80),
    trial(1.9, 0.9, 0.90),
    trial(2.5, 0.2, 0.95),
    trial(3.0, 1.0, None),
    promoted={1: trial(1.9, 0.9, 0.92, fidelity=1.0)},
)


def test_every_candidate_is_drawn_once_by_what_became_of_it() -> None:
    drawn = traces(search_figures.quality_against(said(STUDY), SIZE))
    assert {name: list(each.x) for name, each in drawn.items()} == {  # type: ignore[attr-defined]
        "trained, over budget": [2.5],
        "trial": [1.0, 1.9],
        "front": [1.0, 1.9],
        "rebuilt at full length": [1.9],
        "the best": [1.9],
        "over budget, not trained": [3.0],
    }
    assert drawn["trained, over budget"].marker.color == GREY  # type: ignore[attr-defined]


def test_quality_is_drawn_by_what_is_wrong_and_labelled_by_what_is_right() -> None:
    figure = search_figures.quality_against(said(STUDY), SIZE)
    assert list(traces(figure)["trial"].y) == pytest.approx([20.0, 10.0])  # type: ignore[attr-defined]
    axis = figure.layout.yaxis
    assert (axis.type, axis.autorange) == ("log", "reversed")
    assert axis.ticktext[axis.tickvals.index(10)] == "90"


def test_a_quality_above_one_is_drawn_where_it_is() -> None:
    study = found(trial(1.0, 0.5, 0.98), trial(1.9, 0.9, 1.02), trial(3.0, 1.0, None))
    figure = search_figures.quality_against(said(study), SIZE)
    assert list(traces(figure)["trial"].y) == pytest.approx([98.0, 102.0])  # type: ignore[attr-defined]
    assert max(traces(figure)["over budget, not trained"].y) < 98.0  # type: ignore[attr-defined]
    assert figure.layout.yaxis.type is None and figure.layout.yaxis.autorange is None
    assert {each.y for each in figure.layout.annotations} >= {each.y0 for each in figure.layout.shapes if each.y0 > 1}


def test_hovering_tells_the_recipe_in_words_and_escapes_it() -> None:
    record = trial(1.0, 0.5, 0.8, recipe=({"strategy": "<script>", "layers": 2},))
    text = traces(search_figures.quality_against(said(found(record)), SIZE))["trial"].customdata[0]  # type: ignore[attr-defined]
    assert "<b>trial 0</b><br>1 MB · 0.5 ms · quality 80.00%<br>25% of the full training" in text
    assert "&lt;script&gt;: layers 2" in text


@pytest.mark.parametrize(("largest", "place"), [(3.0, 2.0), (50.0, math.log10(2.0))])
def test_the_budget_is_marked_on_linear_and_logarithmic_axes(largest: float, place: float) -> None:
    figure = search_figures.quality_against(said(found(trial(1.0, 0.5, 0.8), trial(largest, 1.0, None))), SIZE)
    assert (figure.layout.xaxis.type == "log") == (largest == 50.0)
    (line,) = [each for each in figure.layout.shapes if each.x0 == each.x1]
    (text,) = [each for each in figure.layout.annotations if each.text == "budget"]
    assert (line.x0, text.x) == (2.0, pytest.approx(place))


def test_baseline_and_the_best_simple_one_are_levels() -> None:
    known = {"majority class": simple(0.1), "tf-idf": simple(0.7)}
    figure = search_figures.best_over_time(said(found(trial(1.0, 0.5, 0.8), simple=known)))
    assert [each.text for each in figure.layout.annotations] == ["baseline 96.0%", "tf-idf 70.0%"]
    assert [each.y0 for each in figure.layout.shapes] == pytest.approx([4.0, 30.0])


def test_bytes_are_in_megabytes_with_their_share() -> None:
    (bars,) = artifact_figures.bytes_of_best(said(STUDY)).data
    assert (list(bars.y), list(bars.x)) == (["embedding", "layers"], [0.9, 0.6])
    assert bars.text[0] == "0.900 MB · 60%"


def test_the_most_important_knobs_come_first() -> None:
    numbers = replace(said(STUDY), importance={"thin_student.layers": 0.7, "words.tokens": 0.3})
    (bars,) = search_figures.importance(numbers).data
    assert (bars.y[0], bars.x[0]) == ("thin student: layers", pytest.approx(70.0))


def test_no_figure_has_a_background_of_its_own() -> None:
    for figure in (
        search_figures.quality_against(said(STUDY), LATENCY),
        search_figures.best_over_time(said(STUDY)),
    ):
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


ANATOMY = {
    "steps": {"mb": [10.0, 1.9, None, 1.9]},
    "tensors": {
        "largest": [["embedding", "words", 900_000], ["layers", "0.query", 400_000], ["layers", "rest", 200_000]]
    },
    "operators": {"ms": {f"Op{at}": 1.0 / (at + 1) for at in range(10)}},
}
RECIPE = tuple({"strategy": name} for name in ("vocabulary_pruning", "thin_student", "quantization", "distillation"))
TAKEN_APART = found(
    trial(
        1.9,
        0.9,
        0.90,
        recipe=RECIPE,
        facts=ANATOMY,
        bytes_by_group={"layers": 600_000, "embedding": 900_000, "tokenizer": 400_000},
    )
)


def test_a_waterfall_goes_from_the_baseline_to_the_artifact() -> None:
    figure = artifact_figures.waterfall(said(TAKEN_APART))
    (bars,) = figure.data
    assert list(bars.y) == ["baseline", "1. vocabulary<br>pruning", "2. thin<br>student", "this artifact"]
    assert [low + length for low, length in zip(bars.base, bars.x, strict=True)][:3] == pytest.approx(
        [90.0, 90.0, 10.0]
    )
    assert [each.text for each in figure.layout.annotations] == [
        "90 MB",
        "10 MB (÷ 9)",
        "1.9 MB (÷ 5.26)",
        "1.9 MB",
    ]


def test_a_treemap_has_every_byte_once() -> None:
    (map_,) = artifact_figures.treemap(said(TAKEN_APART)).data
    sizes = dict(zip(map_.ids, map_.values, strict=True))
    assert sizes["all"] == 1_900_000 == sizes["embedding"] + sizes["layers"] + sizes["tokenizer"]
    inner = {parent: 0 for parent in map_.parents} | {"layers": 0}
    for parent, size in zip(map_.parents, map_.values, strict=True):
        inner[parent] += size
    assert inner["layers"] == sizes["layers"] and len({*map_.ids}) == len(map_.ids)


def test_the_slowest_operators_come_first_and_the_rest_together() -> None:
    (bars,) = artifact_figures.operators(said(TAKEN_APART)).data
    assert len(bars.y) == OPERATORS + 1
    assert (bars.y[0], bars.y[-1]) == ("Op0", "2 others")
    assert sum(bars.x) == pytest.approx(sum(ANATOMY["operators"]["ms"].values()))


def test_quality_is_drawn_against_mean_milliseconds_of_exits() -> None:
    curve = [
        {"threshold": 1.0, "quality": 0.95, "mean_ms": 3.0, "layers": 6.0, "own": False},
        {"threshold": 0.8, "quality": 0.94, "mean_ms": 1.5, "layers": 2.9, "own": True},
    ]
    exits = said(found(trial(1.9, 0.9, 0.90, recipe=RECIPE, facts={"exits": {"curve": curve}})))
    (line,) = artifact_figures.exits(exits).data
    assert (list(line.x), list(line.y)) == ([1.5, 3.0], [94.0, 95.0])
    assert line.marker.size[0] > line.marker.size[1]
    assert "quality-against-exits" in figures.drawn(exits)
    assert "quality-against-exits" not in figures.drawn(said(TAKEN_APART))


def test_only_what_was_recorded_is_drawn() -> None:
    assert {"what-each-step-took", "every-byte", "where-the-milliseconds-go"} <= {*figures.drawn(said(TAKEN_APART))}
    plain = figures.drawn(said(STUDY))
    assert "every-byte" not in plain and "quality-against-bytes" in plain
    assert figures.drawn(said(found())) == {}


@pytest.mark.parametrize(("low", "high"), [(0.1, 100.0), (2.0, 60.0), (4.0, 11.0), (1.0, 1.0), (32.0, 33.0)])
def test_labels_of_the_quality_axis_are_far_enough_apart_to_be_read(low: float, high: float) -> None:
    ticks = search_figures.quality_ticks(low, high)
    assert ticks and len(ticks) <= search_figures.LABELS + 1
    for one, other in itertools.pairwise(ticks):
        assert math.log10(other / one) > math.log10(high / low) / search_figures.LABELS


def test_what_was_handed_out_after_a_short_training_is_not_called_full_length() -> None:
    study = found(trial(1.9, 0.9, 0.9), promoted={0: trial(1.9, 0.9, 0.92, fidelity=0.2)})
    drawn = traces(search_figures.quality_against(said(study), SIZE))
    assert "rebuilt at full length" not in drawn
    assert list(drawn["handed out, trained for less than full length"].x) == [1.9]  # type: ignore[attr-defined]

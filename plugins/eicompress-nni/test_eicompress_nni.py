from pathlib import Path

import pytest
import torch
from eicompress_nni import NniMovementPruning, NniPruning
from eicompress_nni.nas import evolve

from eicompress.contracts import Candidate, ModelStrategy
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable, SpecError
from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.study.space_file import read_space
from eicompress.study.space_words import slots_in_words
from eicompress.testing import Claim, strategy_checks, tiny_artifact, tiny_candidate, tiny_context

MOVEMENT = NniMovementPruning(heads=0.25, epochs=1.0)
PRUNERS = ("l1_norm", "l2_norm", "fpgm", "taylor", "level")


@pytest.mark.parametrize("claim", [*strategy_checks(NniPruning), *strategy_checks(NniMovementPruning)], ids=str)
def test_claim(claim: Claim) -> None:
    claim()


def test_they_are_found() -> None:
    registry = discover(only="eicompress-nni")
    assert registry.strategy("nni_pruning") is NniPruning
    assert registry.strategy("nni_movement_pruning") is NniMovementPruning


def test_what_the_readme_offers_can_be_read() -> None:
    space = read_space(str(Path(__file__).with_name("space.toml")), discover(only="eicompress-nni"))
    assert [len(known) for known in space.known]
    assert any(line.startswith("nni_pruning (optional)") for line in slots_in_words(space))


def encoder(candidate: Candidate) -> Encoder:
    assert isinstance(candidate.model, Encoder)
    return candidate.model


def with_weak_parts() -> Candidate:
    """In every layer, neurons 8 to 23 and head 1 say next to nothing."""
    candidate = tiny_candidate()
    model = encoder(candidate)
    with torch.no_grad():
        for number in range(len(model.layers)):
            layer = model.layer(number)
            for tensor in (layer.ffn.input.weight, layer.ffn.input.bias):
                tensor[8:24] *= 0.01
            layer.attention.output.weight[:, 6:12] *= 0.01
    return candidate


@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_weak_neurons_and_heads_go(pruner: str, tmp_path: Path) -> None:
    subject = with_weak_parts()
    before = encoder(with_weak_parts()).layer(0)
    made = NniPruning(pruner=pruner, neurons=0.5, heads=0.25).apply(subject, tiny_context(tmp_path, with_weak_parts()))
    model = encoder(made)
    assert [(each.ffn, each.heads) for each in model.config.layers] == [(16, 3)] * 3
    strong = [*range(8), *range(24, 32)]
    assert torch.equal(model.layer(0).ffn.input.weight, before.ffn.input.weight[strong])
    columns = [*range(6), *range(12, 24)]
    assert torch.equal(model.layer(0).attention.output.weight, before.attention.output.weight[:, columns])
    assert made.facts["nni_pruning"]["neurons"] == [16] * 3


@pytest.mark.parametrize(
    "strategy", [*(NniPruning(pruner=each, neurons=0.6, heads=0.5) for each in PRUNERS), MOVEMENT], ids=str
)
def test_a_preview_has_the_final_bytes_and_the_file_is_smaller(strategy: ModelStrategy, tmp_path: Path) -> None:
    sizes = [
        tiny_artifact(
            tmp_path / str(preview), strategy.apply(tiny_candidate(), tiny_context(tmp_path, preview=preview))
        )
        for preview in (True, False)
    ]
    assert sizes[0].size_bytes == sizes[1].size_bytes < tiny_artifact(tmp_path / "whole").size_bytes


def test_movement_pruning_trains_what_stays(tmp_path: Path) -> None:
    made = MOVEMENT.apply(tiny_candidate(), tiny_context(tmp_path))
    model, before = encoder(made), encoder(tiny_candidate())
    assert not torch.equal(model.words.weight, before.words.weight)
    assert {name.rpartition(".")[2] for name in model.state_dict()} <= {"weight", "bias", "scales"}
    assert [(each.ffn, each.heads) for each in model.config.layers] == [(16, 3)] * 3


def test_what_is_shared_is_cut_once(tmp_path: Path) -> None:
    subject = tiny_candidate()
    model = encoder(subject)
    model.keep_layers([0, 0, 1])
    made = encoder(NniPruning(pruner="l1_norm", heads=0.5).apply(subject, tiny_context(tmp_path)))
    assert [(each.ffn, each.heads) for each in made.config.layers] == [(16, 2)] * 3
    assert made.layer(0).ffn is made.layer(1).ffn


def test_a_model_without_layers_is_none_of_its_business(tmp_path: Path) -> None:
    subject = tiny_candidate(layers=(), pooling="mean")
    with pytest.raises(Inapplicable, match="the model has none"):
        NniPruning().apply(subject, tiny_context(tmp_path))


def test_nothing_is_printed_where_json_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    NniPruning().apply(tiny_candidate(), tiny_context(tmp_path))
    assert capsys.readouterr().out == ""


def test_evolution_scores_as_many_parts_as_asked_and_the_same_ones_again() -> None:
    space = read_space("supernet", discover(only="eicompress-nni"))
    scored: list[Recipe] = []

    def score(recipe: Recipe) -> float:
        scored.append(recipe)
        part = recipe.to_json()[-1]
        return float(part["heads"] + part["neurons"] - part["layers"])

    first, second = (evolve(space, score, candidates=12, population=4, seed=0) for _ in range(2))
    assert len(scored) == 24 and [each.parameters for each in first] == [each.parameters for each in second]
    assert first[0].quality == max(map(score, scored[:12]))
    assert {each.digest for each in scored[:12]} == {space.recipe(each.parameters).digest for each in first}


def test_knobs_that_cannot_be_listed_are_refused() -> None:
    space = read_space(str(Path(__file__).with_name("space.toml")), discover(only="eicompress-nni"))
    with pytest.raises(SpecError, match=r"must list the values of `nni_pruning\.neurons`"):
        evolve(space, lambda _: 0.0, candidates=1, population=1, seed=0)

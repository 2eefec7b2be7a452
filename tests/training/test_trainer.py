from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eicompress.cache import Cache
from eicompress.contracts import Candidate, Training
from eicompress.encoder.quantization import SMALLEST_SCALE, Bits, QuantSpec
from eicompress.encoder.tokens import Batch, batches_at_random, tokenize
from eicompress.training import trainer as training_room
from eicompress.training.trainer import Checkpoints, Diverged, Trainer, fit_nothing
from eicompress.values import Progress, seed_of
from tests.conftest import tiny_candidate, tiny_examples, tiny_task


def label_training(candidate: Candidate, **changes: object) -> Training:
    examples, task = tiny_examples(), tiny_task()
    targets = torch.from_numpy(examples.targets)

    def loss(batch: Batch) -> torch.Tensor:
        logits = candidate.model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        return task.loss(logits, targets[batch.rows])

    return Training(examples.texts, loss, **{"epochs": 3.0, "learning_rate": 1e-3, **changes})  # type: ignore[arg-type]


def trainer(seen: list[Progress]) -> Trainer:
    return Trainer(0, 1.0, "cpu", seen.append)


def weights(candidate: Candidate) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in candidate.model.parameters()]


def test_training_lowers_the_loss() -> None:
    candidate, seen = tiny_candidate(), []
    trainer(seen)(candidate, label_training(candidate, epochs=20.0))
    assert seen[-1].step == seen[-1].steps == 50
    assert seen[-1].loss is not None and seen[-1].loss < 0.1


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state_alone() -> None:
    state = torch.random.get_rng_state()
    results = []
    for _ in range(2):
        candidate = tiny_candidate()
        trainer([])(candidate, label_training(candidate))
        results.append(weights(candidate))
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_fidelity_is_the_share_of_the_steps() -> None:
    candidate, seen = tiny_candidate(), []
    Trainer(0, 0.5, "cpu", seen.append)(candidate, label_training(candidate, epochs=8.0))
    assert seen[-1].steps == 10


def test_a_training_is_prepared_for_the_rows_that_it_reads_and_no_others() -> None:
    candidate, prepared, read = tiny_candidate(), [], set()
    training = label_training(candidate, epochs=1.0, batch_size=4, held_out=range(5))

    def loss(batch: Batch) -> torch.Tensor:
        assert prepared, "before the first step"
        read.update(batch.rows.tolist())
        return training.loss(batch)

    prepare = lambda rows: prepared.append(rows.tolist())  # noqa: E731
    Trainer(0, 0.2, "cpu", lambda _: None)(candidate, replace(training, loss=loss, prepare=prepare))
    assert prepared == [sorted(read)]
    assert 5 < len(read) < 25


def test_each_training_of_a_candidate_reads_batches_of_its_own_and_the_first_those_of_the_seed() -> None:
    def read_by(candidate: Candidate, trainings: int) -> list[list[int]]:
        read: list[list[int]] = []
        for _ in range(trainings):
            read.append([])
            training = label_training(candidate, epochs=0.3, batch_size=4)

            def loss(batch: Batch, training: Training = training) -> torch.Tensor:
                read[-1].extend(batch.rows.tolist())
                return training.loss(batch)

            trainer([])(candidate, replace(training, loss=loss))
        return read

    one, two, three = read_by(tiny_candidate(), 3)
    assert set(one) != set(two) != set(three) != set(one)
    lengths = tokenize(tiny_candidate().tokenizer, tiny_examples().texts).lengths
    first = batches_at_random(lengths, 4, np.random.default_rng(seed_of(0, "batches")))
    assert one == np.concatenate(first)[: len(one)].tolist()
    assert read_by(tiny_candidate(), 3) == [one, two, three]


@pytest.mark.parametrize(("bits", "share"), [("ternary", 1.0), (2, 3**-0.5), (4, 7**-0.5), (8, 127**-0.5)])
def test_scales_learn_at_a_rate_of_their_own(bits: Bits, share: float) -> None:
    candidate = tiny_candidate()
    classifier = candidate.model.classifier
    classifier.set_quantization(QuantSpec(bits))
    before = [classifier.weight.detach().clone(), classifier.scales.detach().clone()]
    training = label_training(candidate, epochs=0.01, learning_rate=1e-4, weight_decay=0.0)
    trainer([])(candidate, training)  # of one step, of which Adam makes it all of the rate
    weights, scales = (
        float((now - then).detach().abs().max())
        for now, then in zip((classifier.weight, classifier.scales), before, strict=True)
    )
    assert weights == pytest.approx(1e-4, rel=0.02)
    assert scales == pytest.approx(share * 1e-4, rel=0.02)


@pytest.mark.parametrize("part", ["classifier", "words"])
def test_scales_stay_positive(part: str) -> None:
    candidate = tiny_candidate()
    stored = candidate.model.get_submodule(part)
    stored.set_quantization(QuantSpec(2))
    trainer([])(candidate, label_training(candidate, epochs=8.0, learning_rate=0.3))
    assert (stored.scales >= SMALLEST_SCALE).all()


def test_a_diverged_training_says_so() -> None:
    candidate = tiny_candidate()
    training = label_training(candidate)
    broken = Training(training.texts, lambda batch: training.loss(batch) * float("nan"), 1.0, 1e-3)
    with pytest.raises(Diverged, match="lower the learning rate"):
        trainer([])(candidate, broken)


class Killed(BaseException):
    """As if the process ended here."""


@pytest.mark.parametrize("sparse_from", [10, 10**9])
def test_a_training_that_was_killed_goes_on_with_the_same_result_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sparse_from: int
) -> None:
    monkeypatch.setattr(training_room, "SPARSE_FROM", sparse_from)

    def start() -> tuple[Candidate, Training, list[int]]:
        candidate, read = tiny_candidate(), []
        extra = torch.nn.Linear(1, 1)
        training = label_training(candidate, epochs=6.0, held_out=range(10), patience=99, extra=extra, dropout=0.2)

        def loss(batch: Batch) -> torch.Tensor:
            read.append(batch.step)
            noise = torch.rand(())  # drawn from the random state of the training
            return training.loss(batch) * (1 + noise) + extra.weight.square().sum()

        torch.nn.init.ones_(extra.weight)
        torch.nn.init.ones_(extra.bias)
        return candidate, replace(training, loss=loss), read

    whole, training, _ = start()
    trainer([])(whole, training)

    keeping = replace(trainer([]), checkpoints=Checkpoints(Cache(tmp_path), "key", seconds=0.0))
    killed, training, _ = start()

    def deadly(batch: Batch) -> torch.Tensor:
        if batch.step == 7:
            raise Killed
        return training.loss(batch)

    with pytest.raises(Killed):
        keeping(killed, replace(training, loss=deadly))
    resumed, training, read = start()
    keeping(resumed, training)
    assert min(read) == 6
    assert all(torch.equal(one, two) for one, two in zip(weights(whole), weights(resumed), strict=True))
    assert not list(tmp_path.glob("training/*"))


def test_a_longer_training_has_a_lower_rate() -> None:
    def trained(**changes: float) -> list[torch.Tensor]:
        candidate, seen = tiny_candidate(), []
        trainer(seen)(candidate, label_training(candidate, epochs=1.6, **changes))
        assert seen[-1].steps == 4
        return weights(candidate)

    whole = trained(learning_rate=1e-3)
    for same in (trained(learning_rate=2e-3, rate_steps=1), trained(learning_rate=1e-3, rate_steps=8)):
        assert all(torch.equal(one, two) for one, two in zip(whole, same, strict=True))


def test_parameters_learn_at_their_own_share_of_the_rate() -> None:
    candidate = tiny_candidate()
    model, before = candidate.model, tiny_candidate().model
    rates = {model.classifier.weight: 0.0, model.pooler.weight: 0.01}
    trainer([])(candidate, label_training(candidate, epochs=0.1, rates=rates, weight_decay=0.0))

    def moved(name: str) -> float:
        return (model.get_parameter(name) - before.get_parameter(name)).abs().max().item()

    assert moved("classifier.weight") == 0 and model.classifier.weight.requires_grad
    # The first step of Adam is the learning rate itself.
    assert moved("pooler.weight") == pytest.approx(0.01 * moved("words.weight"), rel=0.01)


def rounded(**changes: object) -> Candidate:
    candidate = tiny_candidate(**changes)
    candidate.model.set_quantization(QuantSpec(4), QuantSpec(4))
    return candidate


def test_of_a_large_table_only_the_rows_that_are_read_move(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []
    for sparse_from in (10, 10**9):
        monkeypatch.setattr(training_room, "SPARSE_FROM", sparse_from)
        candidate, seen = rounded(), []
        trainer(seen)(candidate, label_training(candidate, epochs=20.0, weight_decay=0.0))
        moved.append((candidate.model.words.weight - rounded().model.words.weight).abs().amax(dim=1) > 0)
        assert seen[-1].loss is not None and seen[-1].loss < 0.2
        assert not candidate.model.words.sparse
    assert torch.equal(*moved) and 0 < moved[0].sum() < len(moved[0])


def test_a_weight_that_layers_share_is_rounded_once_a_step() -> None:
    candidate = rounded()
    qkv = candidate.model.layer(0).attention.qkv
    training, made = label_training(candidate), []

    def loss(batch: Batch) -> torch.Tensor:
        made.append((qkv.effective_weight(), qkv.effective_weight()))
        return training.loss(batch)

    trainer([])(candidate, replace(training, loss=loss))
    assert all(one is two for one, two in made)
    assert not torch.equal(made[0][0], made[-1][0])
    assert qkv.effective_weight() is not qkv.effective_weight()


def test_what_is_trained_beside_the_candidate_learns_too() -> None:
    candidate, extra = tiny_candidate(), torch.nn.Linear(2, 2)
    before = extra.weight.detach().clone()
    training = label_training(candidate)

    def loss(batch: Batch) -> torch.Tensor:
        return training.loss(batch) + extra.weight.square().sum()

    trainer([])(candidate, replace(training, loss=loss, extra=extra))
    assert extra.weight.norm() < before.norm()


def test_held_out_rows_are_not_learned_and_stop_a_training_that_makes_them_worse() -> None:
    candidate, read = tiny_candidate(), []
    training = label_training(candidate, epochs=50.0, learning_rate=1e-2, held_out=range(8))

    def loss(batch: Batch) -> torch.Tensor:
        if candidate.model.training:
            read.extend(batch.rows.tolist())
            return training.loss(batch)
        return torch.tensor(1.0 + (batch.step != 10))  # the lowest at the second of the looks

    best = []

    def watched(batch: Batch) -> torch.Tensor:
        if batch.step == 10 and not candidate.model.training:
            best[:] = weights(candidate)
        return loss(batch)

    seen: list[Progress] = []
    trainer(seen)(candidate, replace(training, loss=watched))
    assert set(read) == set(range(8, 80))
    assert len(read) < 50 * 72
    assert all(torch.equal(one, two) for one, two in zip(best, weights(candidate), strict=True))


def test_a_preview_fits_nothing() -> None:
    candidate = tiny_candidate()
    before = weights(candidate)
    fit_nothing(candidate, label_training(candidate))
    assert all(torch.equal(one, two) for one, two in zip(before, weights(candidate), strict=True))


def test_an_epoch_reads_every_row_once_in_batches_of_near_lengths() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 1000)
    cut = batches_at_random(lengths, 16, np.random.default_rng(1))
    assert sorted(np.concatenate(cut).tolist()) == list(range(1000))
    padding = sum(lengths[rows].max() * len(rows) - lengths[rows].sum() for rows in cut)
    assert padding < 0.1 * lengths.sum()

import numpy as np
import pytest
import torch

from eicompress.contracts import Candidate, Training
from eicompress.encoder.tokens import Batch
from eicompress.training import Diverged, Trainer, batches, fit_nothing
from eicompress.values import Progress
from tests.conftest import tiny_candidate, tiny_examples, tiny_task


def label_training(candidate: Candidate, **changes: object) -> Training:
    examples, task = tiny_examples(), tiny_task()
    targets = torch.from_numpy(examples.targets)

    def loss(batch: Batch) -> torch.Tensor:
        logits = candidate.model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        return task.loss(logits, targets[batch.rows])

    return Training(examples.texts, loss, **{"epochs": 3.0, "learning_rate": 1e-3, **changes})  # type: ignore[arg-type]


def told(seen: list[Progress]) -> Trainer:
    return Trainer(0, 1.0, "cpu", seen.append)


def weights(candidate: Candidate) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in candidate.model.parameters()]


def test_training_lowers_the_loss() -> None:
    candidate, seen = tiny_candidate(), []
    told(seen)(candidate, label_training(candidate, epochs=20.0))
    assert seen[-1].step == seen[-1].steps == 50
    assert seen[-1].loss is not None and seen[-1].loss < 0.1


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state_alone() -> None:
    state = torch.random.get_rng_state()
    results = []
    for _ in range(2):
        candidate = tiny_candidate()
        told([])(candidate, label_training(candidate))
        results.append(weights(candidate))
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_fidelity_is_the_share_of_the_steps() -> None:
    candidate, seen = tiny_candidate(), []
    Trainer(0, 0.5, "cpu", seen.append)(candidate, label_training(candidate, epochs=8.0))
    assert seen[-1].steps == 10


def test_a_diverged_training_says_so() -> None:
    candidate = tiny_candidate()
    training = label_training(candidate)
    broken = Training(training.texts, lambda batch: training.loss(batch) * float("nan"), 1.0, 1e-3)
    with pytest.raises(Diverged, match="lower the learning rate"):
        told([])(candidate, broken)


def test_a_preview_fits_nothing() -> None:
    candidate = tiny_candidate()
    before = weights(candidate)
    fit_nothing(candidate, label_training(candidate))
    assert all(torch.equal(one, two) for one, two in zip(before, weights(candidate), strict=True))


def test_an_epoch_reads_every_row_once_in_batches_of_near_lengths() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 1000)
    cut = batches(lengths, 16, np.random.default_rng(1))
    assert sorted(np.concatenate(cut).tolist()) == list(range(1000))
    padding = sum(lengths[rows].max() * len(rows) - lengths[rows].sum() for rows in cut)
    assert padding < 0.1 * lengths.sum()

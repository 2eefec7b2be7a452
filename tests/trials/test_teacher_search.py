"""The search for a teacher, on a tiny model and a task that it can learn."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eicompress.cache import Cache
from eicompress.contracts import Candidate, Examples, Training
from eicompress.errors import ModelError, StudyError
from eicompress.testing.several_tasks import tasks_context
from eicompress.training import linear_probe
from eicompress.training.linear_probe import PENALTIES
from eicompress.training.teacher import answers_of
from eicompress.training.trainer import Trainer
from eicompress.trials import teacher_schedule, teacher_search, teacher_training
from eicompress.trials.inputs import in_time_for_a_teacher
from eicompress.trials.taught import DESCRIPTION, Attempt, digest, is_taught, poolings_of, read_taught
from eicompress.trials.teacher_search import TeacherSearch
from eicompress.values import Progress
from tests.conftest import tiny_candidate, tiny_examples, tiny_task

Trained = list[Training]


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """The trainings of all weights, but for those that are only timed."""
    found: Trained = []
    fit = Trainer.__call__

    def counted(self: Trainer, candidate: Candidate, training: Training) -> None:
        if self.checkpoints is not None:
            found.append(training)
        fit(self, candidate, training)

    monkeypatch.setattr(Trainer, "__call__", counted)
    for name, value in (("LEAST_STEPS", 8), ("FIRST_EPOCHS", 0.1), ("LONGEST", 2.0)):
        monkeypatch.setattr(teacher_schedule, name, value)
    monkeypatch.setattr(teacher_training, "MOST_FOLDS", 1)
    return found


@pytest.fixture
def one_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The linear classifier is fitted once, and not once a penalty."""
    monkeypatch.setattr(linear_probe, "PENALTIES", PENALTIES[:1])


def search(folder: Path, train: Examples | None = None, limit_s: float = 3600.0, **changes: object) -> TeacherSearch:
    made = TeacherSearch(
        source=tiny_candidate(),
        poolings=("mean", "first"),
        task=tiny_task(),
        train=train or tiny_examples(20),
        seed=0,
        device="cpu",
        limit_s=limit_s,
        cache=Cache(folder / "cache"),
        key="tiny",
        progress=lambda _: None,
        on_attempt=lambda _: None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def loss_of(candidate: Candidate) -> float:
    examples = tiny_examples(1)
    logits = torch.from_numpy(answers_of(candidate, examples.texts, "cpu")[0].astype(np.float32))
    return float(tiny_task().loss(logits, torch.from_numpy(examples.targets)))


@pytest.mark.usefixtures("one_penalty")
def test_an_attempt_says_what_the_heads_of_texts_and_of_words_read(tmp_path: Path) -> None:
    context = tasks_context(tmp_path)
    made = search(tmp_path, context.train, source=context.baseline, task=context.task, poolings=("mean",))
    (first, *_) = made.run(linear_only=True).attempts
    assert first.what.startswith("linear head of several tasks on the mean states and states of words, penalty")
    trained = replace(first, learning_rate=1e-4, epochs=2.0).what
    assert trained == "all weights, mean states and states of words, rate 0.0001, 2 epochs"
    one = search(tmp_path / "one", poolings=("mean",))
    assert "mean states, penalty" in one.run(linear_only=True).chosen.what


def test_a_linear_classifier_learns_the_task_on_frozen_weights(tmp_path: Path, trainings: Trained) -> None:
    taught = search(tmp_path).run(linear_only=True)
    (made,) = taught.members
    assert loss_of(made) < 0.2 * loss_of(tiny_candidate()) and not trainings
    assert torch.equal(made.model.words.weight, tiny_candidate().model.words.weight)  # type: ignore[union-attr, operator]
    assert {each.pooling for each in taught.attempts} == {"mean", "first"}
    assert {each.penalty for each in taught.attempts} == set(PENALTIES)


def test_a_dimension_that_never_varies_weighs_nothing(tmp_path: Path) -> None:
    """MiniLM has three, and a weight divided by their deviation of 1e-9 would rule every student's logits."""
    source = tiny_candidate()
    last = source.model.layers[-1].ffn_norm  # type: ignore[union-attr, index]
    with torch.no_grad():
        last.weight[5], last.weight[6] = 0.0, 1e-8
    (made,) = search(tmp_path, source=source, poolings=("mean",)).run(linear_only=True).members
    weights = made.model.classifier.weight.abs().max(dim=0).values  # type: ignore[union-attr]
    assert weights[5] == 0.0 and weights[6] < 1e-4 * weights.median()


def test_what_is_chosen_is_the_best_on_rows_that_were_held_out(tmp_path: Path, trainings: Trained) -> None:
    taught = search(tmp_path).run()
    assert taught.chosen == max(taught.attempts, key=lambda each: (each.quality, -each.loss))
    rates = [each.learning_rate for each in taught.attempts if each.learning_rate]
    assert rates[: len(teacher_schedule.LEARNING_RATES)] == list(teacher_schedule.LEARNING_RATES)
    assert {each.rate_steps for each in trainings} == {300}, "longer ones have lower rates"


def test_a_rate_at_which_a_training_diverges_is_left_out(
    tmp_path: Path, trainings: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_schedule, "LEARNING_RATES", (1e30, 1e-4))
    rates = {each.learning_rate for each in search(tmp_path).run().attempts if each.learning_rate}
    assert rates == {1e-4} and {each.learning_rate for each in trainings} == {1e30, 1e-4}
    assert not search(tmp_path).run().notes, "it was not for lack of time"


def test_twice_the_length_is_tried_as_long_as_that_gains(tmp_path: Path, trainings: Trained) -> None:
    taught = search(tmp_path).run()
    lengths = sorted({each.epochs for each in taught.attempts if each.learning_rate})
    assert len(lengths) == 2 and lengths[1] == pytest.approx(2 * lengths[0])
    best = max(taught.attempts[-4:-1], key=lambda each: (each.quality, -each.loss))
    assert taught.attempts[-1].learning_rate == best.learning_rate


def test_every_row_is_held_out_where_rows_are_few_and_none_is_learned_from(tmp_path: Path) -> None:
    few = search(tmp_path, tiny_examples(5))
    parts = few._folds
    assert sorted(np.concatenate(parts)) == list(range(len(few.train)))
    for rows in parts:  # each part has both labels in their shares
        assert np.ptp(np.bincount(few.train.targets[rows], minlength=2)) <= 2
    many = search(tmp_path, tiny_examples(1000))
    assert len(many._folds) == 1 and len(many._folds[0]) <= teacher_training.MOST_HELD_OUT


def test_three_rows_are_enough_to_begin_with(tmp_path: Path, trainings: Trained) -> None:
    three = search(tmp_path, tiny_examples(1).take([0, 1, 5]))
    assert all(0 < len(rows) < 3 for rows in three._folds)
    assert len(three.run().members) == 1


def test_the_winner_is_trained_again_on_all_rows(tmp_path: Path, trainings: Trained) -> None:
    taught = search(tmp_path).run(members=2)
    whole = [each for each in trainings if len(each.texts) == len(tiny_examples(20))]
    expected = 2 if taught.chosen.learning_rate else 0
    assert len(taught.members) == 2 and len(whole) == expected


def test_a_member_that_is_there_is_not_trained_again(tmp_path: Path, trainings: Trained) -> None:
    attempt = Attempt("mean", 2e-3, learning_rate=1e-4, epochs=0.2)
    first = search(tmp_path)._member(attempt, 0)
    again, other = search(tmp_path)._member(attempt, 0), search(tmp_path)._member(attempt, 1)
    assert len(trainings) == 2
    assert loss_of(again) == loss_of(first) != loss_of(other)


def test_without_time_for_more_the_linear_classifier_is_what_there_is(tmp_path: Path, trainings: Trained) -> None:
    taught = search(tmp_path, limit_s=1e-9).run()
    assert not trainings and not taught.chosen.learning_rate
    assert "tried the linear classifier alone" in taught.notes[0]


def test_what_was_tried_before_is_not_tried_again(tmp_path: Path, trainings: Trained) -> None:
    first = search(tmp_path).run()
    attempts = len([each for each in trainings if len(each.texts) < len(tiny_examples(20))])
    del trainings[:]
    again = search(tmp_path).run()
    assert attempts and not [each for each in trainings if len(each.texts) < len(tiny_examples(20))]
    assert [(each.what, each.quality) for each in again.attempts] == [
        (each.what, each.quality) for each in first.attempts
    ]


def test_layers_learn_the_slower_the_deeper_they_lie() -> None:
    model = tiny_candidate().model
    rates = teacher_training.rates_by_depth(model)  # type: ignore[arg-type]
    of = {name: rates[each] for name, each in model.named_parameters()}
    depth = len(model.layers)  # type: ignore[arg-type]
    assert of["classifier.weight"] == 1.0
    assert of[f"layers.{depth - 1}.ffn.input.weight"] == pytest.approx(0.9)
    assert of["words.weight"] == pytest.approx(0.9 ** (depth + 1))


def test_the_scale_is_in_the_classifier_that_is_written(tmp_path: Path) -> None:
    made = search(tmp_path)
    attempt = Attempt("mean", 2e-3)
    plain, scaled = (made._trained(replace(attempt, scale=scale), 0) for scale in (1.0, 0.5))
    ours, theirs = (answers_of(each, ["play the song"], "cpu")[0].astype(float) for each in (plain, scaled))
    assert np.allclose(0.5 * ours, theirs, atol=1e-2)


def test_plain_fine_tuning_changes_all_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_search, "FINETUNE_EPOCHS", 1.0)
    taught = search(tmp_path).finetuned()
    (made,) = taught.members
    assert loss_of(made) < loss_of(tiny_candidate()) and not taught.attempts
    assert not torch.equal(made.model.words.weight, tiny_candidate().model.words.weight)  # type: ignore[union-attr, operator]


@pytest.mark.usefixtures("one_penalty")
def test_a_written_teacher_is_read_as_it_was(tmp_path: Path) -> None:
    taught = search(tmp_path).run(members=2, linear_only=True)
    folder = tmp_path / "teacher"
    folder.mkdir()
    taught.write(folder)
    read = read_taught(folder)
    assert is_taught(folder) and replace(read, members=()) == replace(taught, members=())
    for before, after in zip(taught.members, read.members, strict=True):
        texts = ["play the song", "will it rain"]
        assert (answers_of(before, texts, "cpu")[0] == answers_of(after, texts, "cpu")[0]).all()


@pytest.mark.usefixtures("one_penalty")
def test_a_teachers_digest_is_that_of_its_weights(tmp_path: Path) -> None:
    def written(name: str, seed: int) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        search(tmp_path, source=tiny_candidate(seed), key=name, poolings=("mean",)).run(linear_only=True).write(folder)
        return folder

    first, same, other = written("first", 0), written("same", 0), written("other", 1)
    (same / DESCRIPTION).write_text("{}")
    assert digest(first) == digest(same) != digest(other)


@pytest.fixture(scope="module")
def whole_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taught")
    (folder / "teacher").mkdir()
    search(folder).run(linear_only=True).write(folder / "teacher")
    return folder / "teacher"


def broken(change: Callable[[dict[str, object]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        described = json.loads((folder / DESCRIPTION).read_text())
        change(described)
        (folder / DESCRIPTION).write_text(json.dumps(described))

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        broken(lambda described: described.pop("answer")),
        broken(lambda described: described.update(answer={"kind": "label", "labels": ["one"]})),
        broken(lambda described: described.update(chosen={"pooling": "mean", "magic": 1})),
        lambda folder: (folder / DESCRIPTION).write_text("not JSON"),
        lambda folder: (folder / "member-0" / "model.safetensors").write_bytes(b"no tensors"),
        lambda folder: (folder / "member-0" / "candidate.json").unlink(),
        broken(lambda described: described.update(members=2)),
    ],
)
def test_a_damaged_teacher_is_refused_in_one_line(
    damage: Callable[[Path], None], whole_teacher: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(whole_teacher, folder)
    damage(folder)
    with pytest.raises(ModelError, match="as `eicompress teach` wrote it, but is damaged"):
        read_taught(folder)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, ("mean",)),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("first",)),
        ({"pooling_mode": "cls"}, ("first",)),
        ({"pooling_mode_max_tokens": True}, ("mean", "first")),
        (None, ("mean", "first")),
    ],
)
def test_states_are_pooled_as_the_model_was_made_to(said: object, expected: tuple[str, ...], tmp_path: Path) -> None:
    if said is not None:
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(said))
    assert poolings_of(tmp_path) == expected


@pytest.mark.parametrize("text", ["not JSON", "[]"])
def test_a_pooling_that_cannot_be_read_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(text)
    with pytest.raises(ModelError, match="must be"):
        poolings_of(tmp_path)


def test_a_search_that_has_no_time_to_read_the_rows_for_a_teacher_is_refused_while_it_reads() -> None:
    def read(limit_s: float) -> int:
        now, steps = 0.0, 0
        progress = in_time_for_a_teacher(lambda _: None, limit_s, lambda: now)
        for steps in range(0, 1001, 10):
            now = steps / 10
            progress(Progress("teacher", steps, 1000))
        progress(Progress("teacher", 1, 1000, loss=0.5))
        return steps

    assert read(200.0) == 1000, "a training may take longer than the reading"
    times = iter((0.0, 0.0, 0.0, 2.0, 60.0, 60.0, 62.0))
    again = in_time_for_a_teacher(lambda _: None, 30.0, lambda: next(times))
    for step in (500, 1000, 500, 1000):  # twice; what lies between two readings is no reading
        again(Progress("teacher", step, 1000))
    with pytest.raises(
        StudyError, match=r"reading the 1,000 training rows .* are 30 s: .*`--teacher-timeout`.*`--rows`"
    ):
        read(30.0)

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from eicompress.answers import TeacherOutputs
from eicompress.contracts import Examples
from eicompress.errors import DataError, SpecError
from eicompress.plugins import discover
from eicompress.spec import read as read_spec
from eicompress.tasks.multi_task import SeveralTasks, constant_loss, in_turns
from eicompress.training.losses import answer_losses, label_kl
from eicompress.trials.task_data import TaskData, read_data
from eicompress.trials.teacher_training import folds_of
from eicompress.values import Text

ROWS: list[dict[str, Any]] = [
    {"task": "topic", "text": "play it", "label": "music"},
    {"task": "match", "text": "play it", "text_pair": "it plays", "label": "yes"},
    {"task": "topic", "text": "will it rain", "label": "weather"},
    {"task": "match", "text": "play it", "text_pair": "rain", "label": "no"},
]

OF_TEXTS = [row for row in SeveralTasks.example if row["task"] not in ("things", "command")]


def write(folder: Path, **tasks: list[dict[str, Any]]) -> list[str]:
    """`--data` of each task."""
    for name, rows in tasks.items():
        (folder / name).mkdir()
        for split in ("train", "validation", "test"):
            own = [{**row, "text": f"{row['text']} {split}"} for row in rows]
            (folder / name / f"{split}.jsonl").write_text("\n".join(map(json.dumps, own)))
    return [f"{name}={folder / name}" for name in tasks]


def of_task(name: str) -> list[dict[str, Any]]:
    return [{role: value for role, value in row.items() if role != "task"} for row in ROWS if row["task"] == name]


def opened(data: list[str], **settings: object) -> TaskData:
    return read_data(discover(), read_spec({"model": "-", "data": data, **settings}))


class Sure:
    """A teacher that gives each text these logits."""

    digest, aligned = "", False

    def __init__(self, logits: list[list[float]]) -> None:
        self.logits = np.array(logits, np.float16)

    def outputs(self, texts: tuple[Text, ...]) -> TeacherOutputs:
        return TeacherOutputs.of(self.logits, np.zeros((len(texts), 0)))


def test_each_task_is_found_from_its_own_rows_and_reads_them() -> None:
    task, examples = SeveralTasks.read({"train": OF_TEXTS}, {})
    kinds = [(name, each.name, each.pairs) for name, each in task.tasks]
    assert kinds == [
        ("matches", "pair_classification", True),
        ("tags", "multi_label_classification", False),
        ("topic", "classification", False),
        ("urgency", "regression", False),
    ]
    first, second = examples["train"].targets[:4].tolist(), examples["train"].targets[4:].tolist()
    assert first == [[0, 1, 1, 0], [1, 1, 1, 1], [2, 1, 1, 0], [3, 1, -1, 0]]
    assert second == [[0, 1, 0, 0], [1, 1, 0, 0], [2, 1, 0, 0], [3, 1, 1, 0]]
    assert examples["train"].texts[:2] == (("will it rain", "rain today"), "will it rain")
    assert task.pairs and task.answer.names[-1] == "urgency/number"
    whole, read = SeveralTasks.read({"train": SeveralTasks.example}, {})
    assert [(name, each.name) for name, each in whole.tasks[4:]] == [
        ("command", "intent_and_slots"),
        ("things", "token_classification"),
    ]
    assert whole.answer.reads == "both" and whole.of_whole_texts.tasks == task.tasks
    assert len(read["train"]) == len(SeveralTasks.example) == len(OF_TEXTS) + 4


def test_the_loss_of_each_task_is_that_of_its_kind_alone_with_a_weight() -> None:
    task, examples = SeveralTasks.read({"train": OF_TEXTS}, {})
    logits, targets = torch.randn(8, 7, generator=torch.Generator().manual_seed(0)), examples["train"].targets
    expected = [
        F.cross_entropy(logits[[0, 4], :2], torch.tensor([1, 0])),
        2 * F.binary_cross_entropy_with_logits(logits[[1, 5], 2:4], torch.tensor([[1.0, 1.0], [0.0, 0.0]])),
        F.cross_entropy(logits[[2, 6], 4:6], torch.tensor([1, 0])),
        F.mse_loss(logits[[3, 7], 6], torch.tensor([-1.0, 1.0])),
    ]
    weighted = torch.stack(expected) * torch.tensor(task.weights)
    torch.testing.assert_close(task.loss(logits, torch.from_numpy(targets)), weighted.mean())
    alone = task.loss(logits[[1, 5]], torch.from_numpy(targets[[1, 5]]))
    torch.testing.assert_close(alone, weighted[1])
    assert task.correct(logits.numpy(), targets).shape == (8,)


def test_before_anything_is_learned_the_losses_of_all_tasks_are_as_large() -> None:
    """Of labels as large as the entropy of their shares, of sets the sum of those of all labels, of numbers one."""
    task, examples = SeveralTasks.read({"train": OF_TEXTS}, {})
    entropies = np.array([np.log(2), 2 * np.log(2), np.log(2), 1.0])
    assert np.array(task.weights) * entropies == pytest.approx(4 * [entropies.mean()])
    learned = torch.from_numpy(examples["train"].targets)
    assert task.loss(torch.zeros(8, 7), learned).item() == pytest.approx(entropies.mean())
    from_teacher = answer_losses(task.answer, torch.zeros(1, 7), torch.ones(1, 7))
    plain = answer_losses(replace(task, weights=()).answer, torch.zeros(1, 7), torch.ones(1, 7))
    kinds = torch.tensor([0.0, 2 * label_kl(torch.zeros(1, 1), torch.ones(1, 1)).item(), 0.0, 1.0])
    torch.testing.assert_close(plain, kinds.sum()[None])
    torch.testing.assert_close(from_teacher, (kinds * torch.tensor(task.weights)).sum()[None])


def test_what_is_only_measured_has_no_training_rows_and_no_weights() -> None:
    task, _ = SeveralTasks.read({"train": ROWS}, {})
    own = {name: (each, {"test": Examples(("play it",), np.array([1]))}) for name, each in task.tasks}
    joined, found = SeveralTasks.joined(own)
    assert joined.weights == () and joined.answer == task.answer and len(found["test"]) == 2


def test_parts_of_the_rows_have_each_tasks_labels_in_their_shares() -> None:
    rows = [{**row, "text": f"{row['text']} {at}"} for at in range(20) for row in OF_TEXTS]
    task, examples = SeveralTasks.read({"train": rows}, {})
    targets = examples["train"].targets
    for part in folds_of(task.answer.strata(targets), 0):
        own = targets[part]
        assert np.ptp(np.bincount(own[:, 0].astype(int), minlength=4)) <= 1
        for at in (0, 2):
            assert np.ptp(np.bincount(own[own[:, 0] == at, 2].astype(int), minlength=2)) <= 1


def test_correlations_beside_the_mean_share_are_no_shares() -> None:
    task, examples = SeveralTasks.read({"train": OF_TEXTS}, {})
    beside = task.beside(np.zeros((8, 7)), examples["train"].targets)
    assert {name for name in beside if not task.is_share(name)} == {"urgency_pearson", "urgency_spearman"}
    graded = replace(task, tasks=(("mean", task.tasks[3][1]), ("mean_topic", task.tasks[2][1])))
    assert graded.is_share("mean_share") and graded.is_share("mean_quality") and graded.is_share("mean_topic_accuracy")
    assert not graded.is_share("mean_pearson")


def test_the_quality_is_a_share_of_what_the_teachers_reach() -> None:
    task, examples = SeveralTasks.read({"train": ROWS}, {})
    wanted = [[0, 1, 1], [1, 1, 0], [0, 1, 0], [1, 1, 1]]  # `match`, `topic` by turns
    assert examples["train"].targets.tolist() == wanted
    teacher = Sure([[1, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])  # of `match` it reads one of two right
    judged = task.judged(examples["train"], teacher, examples["train"])  # type: ignore[arg-type]
    own = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]])  # both of `match`, one of two of `topic`
    assert task.score(own, judged.targets) == pytest.approx((1.0 / 0.5 + 0.5 / 1.0) / 2)
    beside = {"mean_quality": 0.75, "match_accuracy": 1.0, "topic_accuracy": 0.5}
    assert task.beside(own, judged.targets) == pytest.approx(beside)
    again = task.judged(judged, teacher, judged)  # type: ignore[arg-type]
    assert again.targets.tolist() == judged.targets.tolist()
    wrong = Sure([[1, 0, 0, 1], [0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]])
    poor = task.judged(examples["train"], wrong, examples["train"])  # type: ignore[arg-type]
    assert {*poor.targets[:, 1].tolist()} == {0.5}, "no right answer counts as one"
    plain = task.without_teacher()
    same = plain.judged(examples["train"], teacher, examples["train"])  # type: ignore[arg-type]
    assert plain.quality == "mean_quality" and same is examples["train"]
    assert plain.score(own, examples["train"].targets) == pytest.approx(0.75)
    assert plain.beside(own, examples["train"].targets).keys() == {"match_accuracy", "topic_accuracy"}


def test_the_threshold_of_a_teacher_is_chosen_on_validation() -> None:
    task, examples = SeveralTasks.read({"train": OF_TEXTS}, {})
    logits = np.zeros((8, 7))
    logits[:, 2:4] = -3.0  # below a half for every label, but less where the labels are not
    logits[5, 2:4] = -4.0
    teacher, train = Sure(logits.tolist()), examples["train"]
    judged = task.judged(train, teacher, train)  # type: ignore[arg-type]
    assert judged.targets[1, 1] == judged.targets[5, 1] == 1.0
    everywhere = train.targets.copy()
    everywhere[[1, 5], 2:] = 1  # there the lower threshold is the best one
    other = task.judged(train, teacher, Examples(train.texts, everywhere))  # type: ignore[arg-type]
    assert other.targets[1, 1] == pytest.approx(2 / 3)
    names = {"matches_accuracy", "tags_micro_f1", "tags_macro_f1", "tags_exact_match", "topic_accuracy"}
    assert task.beside(logits, judged.targets).keys() == names | {"urgency_pearson", "urgency_spearman", "mean_quality"}


def test_data_sets_become_one_whose_first_rows_have_each_tasks_share(tmp_path: Path) -> None:
    read = opened(write(tmp_path, topic=3 * of_task("topic"), match=of_task("match")))
    targets = read.examples["train"].targets
    assert targets[:4, 0].tolist().count(0) == 1 and targets[:, 0].tolist().count(1) == 6
    assert read.task.quality == "mean_share"
    assert "".join("aaaabb"[row] for row in in_turns([4, 2])) == "abaaba"
    accuracy = opened([f"{name}={tmp_path / name}" for name in ("topic", "match")], quality="mean_quality")
    assert accuracy.task.quality == "mean_quality" and accuracy.digest != read.digest


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*ROWS, {**ROWS[1], "text_pair": None}], "task `match`: every row must have a second text.*row 3 of `train`"),
        ([*ROWS, {**ROWS[0], "text_pair": "b"}], "task `topic`: every row must not have a second text.*has one"),
        ([*ROWS[:2], ROWS[3]], "task `topic`: `train` must have at least two labels"),
        ([*ROWS, {**ROWS[0], "label": ["a"]}], "task `topic`: row 3 of `train`, column `label` must be a text or a"),
    ],
)
def test_rows_that_fit_no_task_are_refused(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        SeveralTasks.read({"train": rows}, {})


def test_a_task_without_training_rows_is_refused() -> None:
    with pytest.raises(DataError, match="must have rows in `train`, but row 1 has `other`"):
        SeveralTasks.read({"train": ROWS, "test": [{**ROWS[0], "task": "other"}]}, {})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (["topic=a", "b"], "must each have the name of a task, NAME=DATA, but got `b`"),
        (["topic=a", "topic=b"], "must name each task once, but names `topic` twice"),
    ],
)
def test_data_sets_without_names_of_their_own_are_refused(data: list[str], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        read_spec({"model": "-", "data": data})


def test_each_data_set_may_have_a_kind_and_columns_of_its_own(tmp_path: Path) -> None:
    numbers = [{"said": "a", "stars": 5}, {"said": "b", "stars": 2}]
    tags = [{"text": "a", "labels": ["x", "y"]}, {"text": "b", "labels": []}]
    topic = [{"text": "a", "label": "5"}, {"text": "b", "label": "2"}]
    data = write(tmp_path, tags=tags, topic=topic)
    (tmp_path / "score").mkdir()
    for split in ("train", "validation", "test"):
        rows = [{**row, "said": f"{row['said']} {split}"} for row in numbers]
        (tmp_path / "score" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    named = {"text": "score=said", "label": ["score=stars", "label"], "task": ["score=regression"]}
    read = opened([*data, f"score={tmp_path / 'score'}"], **named)
    assert isinstance(read.task, SeveralTasks)
    kinds = {name: each.name for name, each in read.task.tasks}
    assert kinds == {"tags": "multi_label_classification", "topic": "classification", "score": "regression"}
    assert {"a train", "b train"} == {*read.examples["train"].texts}
    assert any(each.startswith("tags: The rows have lists in `labels`") for each in read.notes)


def test_what_is_no_part_of_several_tasks_or_is_alone_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path, topic=of_task("topic"), match=of_task("match"), texts=[{"text": "a"}, {"text": "b"}])
    (tmp_path / "questions").mkdir()
    for split in ("train", "validation", "test"):
        row = {
            "question": "who",
            "context": f"{split} it is",
            "answers": {"text": ["it"], "answer_start": [len(split) + 1]},
        }
        (tmp_path / "questions" / f"{split}.jsonl").write_text(json.dumps(row))
    for other, kind in ((data[2], "embedding"), (f"questions={tmp_path / 'questions'}", "question_answering")):
        with pytest.raises(DataError, match=f"is of the task `{kind}`: search for it on its own"):
            opened([*data[:2], other])
    with pytest.raises(SpecError, match="must be two or more, but got"):
        opened(data[:1])
    for settings, said in (
        ({"task": "classification"}, "must have the name of one of the tasks, as `--task topic=classification`"),
        ({"label": "score=a"}, "`--label` must be for one of the tasks, but got `score`"),
        ({"text": ["a", "b"]}, "several `--text` must each have the name of a task"),
        ({"text": ["topic=a", "topic=b"]}, "`--text` must name each task once, but names `topic` twice"),
    ):
        with pytest.raises(SpecError, match=said):
            opened(data[:2], **settings)
    with pytest.raises(SpecError, match="must be given once where `--data` has no name of a task"):
        read_spec({"model": "-", "data": "a", "label": ["b", "c=d"]})
    assert read_spec({"model": "-", "data": "a", "label": "c=d"}).columns["label"] == "c=d"
    assert read_spec({"model": "-", "data": data[:2]}).study == "topic-match"
    assert read_spec({"model": "-", "data": data[:1]}).tasks == {"topic": str(tmp_path / "topic")}


def test_an_empty_cell_names_its_task_and_row(tmp_path: Path) -> None:
    data = write(tmp_path, topic=[*of_task("topic"), {"text": "c", "label": ""}], match=of_task("match"))
    with pytest.raises(DataError, match=r"task `topic`: `train.jsonl`, row 3, column `label`"):
        opened(data)


def test_examples_of_tasks_are_taken_as_others_are() -> None:
    _, examples = SeveralTasks.read({"train": ROWS}, {})
    taken: Examples = examples["train"].take([1, 2])
    assert taken.targets[:, 2].tolist() == [0, 0]


SLOTS: list[dict[str, Any]] = [
    {"tokens": ["will", "it", "rain"], "tags": ["O", "O", "B-sky"], "label": "ask"},
    {"tokens": ["play", "music"], "tags": ["O", "B-thing"], "label": "say"},
]
ENTITIES = [{name: value for name, value in row.items() if name != "label"} for row in SLOTS]


def of_words() -> tuple[SeveralTasks, Examples]:
    named = [{"task": "slots", **row} for row in SLOTS] + [{"task": "entities", **row} for row in ENTITIES]
    task, examples = SeveralTasks.read({"train": [*ROWS, *named]}, {})
    return task, examples["train"]


def test_tasks_that_answer_words_stand_behind_those_of_texts() -> None:
    task, examples = of_words()
    kinds = [(name, each.name) for name, each in task.tasks]
    assert kinds == [
        ("match", "pair_classification"),
        ("topic", "classification"),
        ("entities", "token_classification"),
        ("slots", "intent_and_slots"),
    ]
    answer = task.answer
    assert (answer.reads, answer.outputs, answer.word_outputs) == ("both", 16, 12)
    by_name = {each.part.name: each for _, each in task.divided(examples.targets)}
    assert by_name["topic"].targets.tolist() == [0, 1]
    assert by_name["entities"].targets.tolist() == [[0, 0, 1], [0, 2, -1]]


def test_words_are_learned_as_in_a_task_of_their_own() -> None:
    task, examples = of_words()
    generator, targets = torch.Generator().manual_seed(0), torch.from_numpy(examples.targets)
    logits = torch.randn(8, 4, 16, generator=generator)
    parts = []
    for (own, each), weight in zip(task.divided(examples.targets), task.weights, strict=True):
        given = each.place.of(logits)[each.rows]
        parts.append(weight * own.loss(given, torch.from_numpy(each.targets)) / 4)
    torch.testing.assert_close(task.loss(logits, targets), torch.stack(parts).sum())
    of_topics = np.flatnonzero(examples.targets[:, 0] < 2)
    assert task.loss(logits[of_topics], targets[of_topics]).isfinite(), "a batch without words"
    assert task.correct(logits.numpy(), examples.targets).shape == (8,)
    assert {"entities_entity_f1", "slots_sentence_accuracy", "slots_slot_f1", "topic_accuracy"} <= {
        *task.beside(logits.numpy(), examples.targets)
    }


def test_before_anything_is_learned_the_losses_of_words_are_as_large_too() -> None:
    task, examples = of_words()
    losses = [
        weight * constant_loss(own, each.targets)
        for (own, each), weight in zip(task.divided(examples.targets), task.weights, strict=True)
    ]
    assert losses == pytest.approx([np.mean(losses)] * 4)
    (own, each) = [*task.divided(examples.targets)][2]
    shares = np.array([3.5, 1.5, 1.5]) / 5  # of five words, three are `O`; half a word more of each
    expected = -(3 * np.log(3.5 / 5) + 2 * np.log(1.5 / 5)) / 5 + np.log(np.sum(shares) + 2 * 0.5 / 5)
    assert constant_loss(own, each.targets) == pytest.approx(expected)

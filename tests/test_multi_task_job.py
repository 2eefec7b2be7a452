"""Several tasks on one encoder, from the command line to the card."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import MUSIC, WEATHER, tiny_candidate
from tiny_teachers import write_tiny_teacher

import eicompress
from eicompress import cli
from eicompress.answers import LabelPrediction, Labels, MultiTask, MultiTaskPrediction, Part
from eicompress.cache import Cache
from eicompress.errors import DataError, ModelError, SpecError
from eicompress.export import folder as artifacts
from eicompress.plugins import discover
from eicompress.spec import Spec
from eicompress.spec import read as read_spec
from eicompress.trials.inputs import teachers_in
from eicompress.trials.task_data import read_data
from eicompress.values import Artifact

SPACE = """
fidelity = [1.0]
[[slot]]
strategy = "thin_student"
layers = { low = 0, high = 2 }
[[slot]]
strategy = "quantization"
[[slot]]
strategy = "distillation"
epochs = 1.0
distortions = 1
label_weight = { low = 0.0, high = 0.5 }
"""
ENDINGS = {"train": ("", " today", " will"), "validation": (" sun", " rain"), "test": (" song",)}
TOPIC = Part("topic", Labels(("music", "weather")), pairs=False)
MATCH = Part("match", Labels(("no", "yes")), pairs=True)


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    Path("space.toml").write_text(SPACE)


def write_data() -> list[str]:
    """The words of `--data` for a task of texts and one of pairs."""
    for name in ("topic", "match"):
        Path(name).mkdir()
        for split, endings in ENDINGS.items():
            rows = []
            for label, of in (("music", MUSIC), ("weather", WEATHER)):
                for at, text in enumerate(text + ending for ending in endings for text in of):
                    other, same = (MUSIC if at % 2 else WEATHER)[at % 5], (label == "music") == bool(at % 2)
                    of_pair = {"text_pair": other, "label": "yes" if same else "no"}
                    rows.append({"text": text, "label": label} if name == "topic" else {"text": text, **of_pair})
            Path(name, f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return ["topic=topic", "match=match"]


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    answer = MultiTask((MATCH, TOPIC))
    return artifacts.write(tiny_candidate(outputs=4), answer, tmp_path / "artifact", pairs=True, manifest={})


def test_a_file_has_an_output_for_each_task_and_one_can_be_asked_alone(
    artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = {
        each.name: each.type.tensor_type.shape.dim[-1].dim_value for each in onnx.load(artifact.onnx).graph.output
    }
    assert outputs == {"match_logits": 2, "topic_logits": 2}
    whole, texts = eicompress.load(artifact.folder), ["play it", ("play it", "it plays")]
    logits = whole.logits(texts)
    alone = eicompress.load(artifact.folder, task="topic")
    np.testing.assert_array_equal(alone.logits(texts[:1]), logits[:1, 2:])
    np.testing.assert_array_equal(whole.of_task("match").logits(texts[1:]), logits[1:, :2])
    assert not alone.pairs and alone.labels == ("music", "weather")
    (single, pair) = whole.predict(texts)
    assert isinstance(single, MultiTaskPrediction) and isinstance(pair, MultiTaskPrediction)
    (found,) = alone.predict(texts[:1])
    assert isinstance(found, LabelPrediction) and single.answers == {"topic": found}
    assert pair.answers.keys() == {"match"}

    assert cli.run(["predict", str(artifact.folder), "play it", "play it\tit plays"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"topic={found.label} ") and lines[1].startswith("match=")
    assert cli.run(["predict", str(artifact.folder), "--task", "topic", "--top", "2", "play it"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split("\t")[0] == found.label


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["predict", "artifact", "--task", "topc", "a"],
            "a task of the artifact, but got `topc`: did you mean `topic`",
        ),
        (["predict", "artifact", "--task", "match", "a"], "this artifact reads pairs, so a TEXT must have a tab"),
        (["predict", "artifact", "--top", "2", "a"], "`--top` must be asked of a model of labels"),
        (["predict", "artifact", "--reject", "a"], "`--reject` must be asked of a model of labels"),
        (["measure", "artifact", "--data", "topic"], "must have the name of one of the artifact's tasks, NAME=DATA"),
        (["measure", "artifact", "--data", "tpic=topic"], "must be one of the artifact's, but got `tpic`"),
        (["measure", "artifact", "--data", "topic=match"], "every label of task `topic` must be one of the artifact's"),
        (["measure", "artifact", "--data", "topic=topic", "--quality", "mean_share"], "must be mean_accuracy where no"),
        (["measure", "artifact", "--data", "topic=topic", "--data", "match"], "must each have the name of a task"),
    ],
)
def test_what_does_not_fit_an_artifact_of_several_tasks_is_refused(
    artifact: Artifact, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data()
    assert cli.run([*words, *(["--seq-len", "8"] if words[0] == "measure" else [])]) == 2
    assert said in capsys.readouterr().err


def test_a_task_of_an_artifact_of_one_is_refused(tmp_path: Path) -> None:
    data, answer = write_data(), Labels(("music", "weather"))
    made = artifacts.write(tiny_candidate(), answer, tmp_path / "one", pairs=False, manifest={})
    with pytest.raises(ModelError, match="`--task` must be asked of a model of several tasks"):
        eicompress.load(made.folder, task="topic")
    with pytest.raises(SpecError, match="must be of one task for an artifact of one task"):
        eicompress.measure(made.folder, data=data, seq_len=8)


def test_an_artifact_of_several_tasks_is_compared_with_one_of_a_single_task(
    tmp_path: Path, artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data()
    alone = tiny_candidate(outputs=4)
    alone.encoder.keep_outputs((2, 3))  # the same head as in the artifact of both
    single = artifacts.write(alone, TOPIC.answer, tmp_path / "single", pairs=False, manifest={})
    rows = [json.loads(line) for line in Path("topic", "test.jsonl").read_text().splitlines()]
    found = eicompress.load(single.folder).predict([row["text"] for row in rows])
    assert sum(each.to_json()["label"] == row["label"] for each, row in zip(found, rows, strict=True)) == 4
    assert cli.run(["compare", str(artifact.folder), str(single.folder), "--data", data[0], "--seq-len", "8"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("40.00%") == 2 and "+0.00" in printed and "accuracy of 10 texts (test)" in printed


@pytest.mark.slow
def test_several_tasks_go_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = write_data(), write_tiny_teacher(tmp_path / "model", "Bert")
    words = ["--model", str(model), *(word for each in data for word in ("--data", each))]
    search = ["search", *words, "--budget", "40KB", "--space", "space.toml", "--workers", "0", "--trials", "3"]
    assert cli.run([*search, "--teacher-training", "probe"]) == 0
    captured = capsys.readouterr()
    for expected in ("no classifier of several tasks", "majority class of each task", "topic_accuracy", "tf-idf: "):
        assert expected in captured.out + captured.err
    result = eicompress.show("topic-match")
    assert result.best_candidate is not None and result.baseline is not None
    best = result.best_candidate[1]  # tf-idf is better than what learns from so few texts
    assert result.baseline.value("quality") == 1.0, "the model is its own teacher"
    mean = (best.value("topic_accuracy_test") or 0) / 2 + (best.value("match_accuracy_test") or 0) / 2
    assert best.value("mean_accuracy_test") == pytest.approx(mean) and best.facts["parity"]["agreement"] >= 0.995
    folder = Path(best.files["artifact"])

    measured = {each.name: each for each in eicompress.measure(folder, data=data, seq_len=8)}
    assert measured["quality_test"].conditions["metric"] == "mean_accuracy"
    assert measured["quality_test"].value == pytest.approx(mean)
    alone = {each.name: each for each in eicompress.measure(folder, data=data[:1], seq_len=8)}
    assert alone["quality_test"].value == pytest.approx(best.value("topic_accuracy_test"))
    (other,) = eicompress.compare([folder, folder], data=data, output=tmp_path / "c.html").others
    assert other.difference.mean == 0.0

    page = (tmp_path / "studies" / "topic-match" / "report.html").read_text(encoding="utf-8")
    assert "Right answers by task" in page and "match: Precision and recall" in page and "on topic, match" in page
    card = Artifact(folder).card.read_text(encoding="utf-8")
    assert (
        "mean_share, test split" in card and "topic_accuracy, test split" in card and "- Data: `topic`, `match`" in card
    )


@pytest.mark.slow
def test_a_teacher_of_several_tasks_is_trained_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = write_data(), write_tiny_teacher(tmp_path / "model", "Bert")
    words = ["--model", str(model), *(word for each in data for word in ("--data", each))]
    assert cli.run(["teach", *words, "--output", "taught", "--timeout", "1s", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    beside = found["beside"]
    assert found["quality"] == pytest.approx((beside["match_accuracy"] + beside["topic_accuracy"]) / 2)
    assert {"majority class of each task", "tf-idf", "static embeddings"} == found["simple"].keys()
    assert found["simple"]["majority class of each task"] == 0.5, "accuracies, as that of the teacher"


@pytest.mark.slow
def test_each_task_may_have_a_teacher_of_its_own(tmp_path: Path) -> None:
    data = write_data()
    model = write_tiny_teacher(tmp_path / "model", "Bert", ("other", "labels", "these"))
    of_topic = write_tiny_teacher(tmp_path / "of_topic", "Roberta", ("weather", "music"))
    of_match = eicompress.teach(model=str(model), data="match", output="of_match", timeout="1s").folder
    Path("recipe.toml").write_text('[[steps]]\nstrategy = "distillation"\nepochs = 1.0\ndistortions = 1\n')
    both = [f"topic={of_topic}", f"match={of_match}"]
    asked = {"model": str(model), "data": data, "recipe": "recipe.toml", "teacher_training": "probe"}
    record = eicompress.compress(**asked, output="made", teacher=both)
    topic, match = (record.value(f"{name}_accuracy") or 0 for name in ("topic", "match"))
    quality = _teachers_accuracy(read_spec({"model": str(model), "data": data}), [of_match, of_topic])
    assert record.value("quality") == pytest.approx((match / quality[0] + topic / quality[1]) / 2)
    for teachers, said in (
        (both[:1], "must name one for each task, NAME=FOLDER, or none, but `match` has none"),
        ([*both, "other=a"], "must be of one of the tasks, but got `other`"),
        ([both[0], str(of_match)], "must have the name of a task, NAME=FOLDER"),
    ):
        with pytest.raises(SpecError, match=said):
            eicompress.compress(**asked, output="not-made", teacher=teachers)
    with pytest.raises(SpecError, match="`--ensemble` must be mean where the answer is a multi_task"):
        eicompress.compress(**asked, output="not-made", ensemble="weighted")
    with pytest.raises((ModelError, DataError), match=r"task `match`: .*labels"):
        eicompress.compress(**asked, output="not-made", teacher=[both[0], f"match={of_topic}"])


def _teachers_accuracy(spec: Spec, folders: list[Path]) -> list[float]:
    """Of the teachers of `match` and `topic` on validation, each asked on its own."""
    read, found = read_data(discover(), spec), []
    examples = read.examples["validation"]
    for (pairs, start), part, folder in zip(((True, 0), (False, 2)), (MATCH, TOPIC), folders, strict=True):
        rows = [at for at, text in enumerate(examples.texts) if isinstance(text, tuple) is pairs]
        (teacher,) = teachers_in(folder, part.answer, "cpu", Cache(Path("other-cache")))
        answers = teacher.outputs([examples.texts[row] for row in rows]).logits.argmax(axis=1)
        found.append(float((answers == examples.targets[rows] - start).mean()))
    return found

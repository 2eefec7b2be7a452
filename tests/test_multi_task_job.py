"""Several tasks on one encoder, from the command line to the card."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import MUSIC, WEATHER, tiny_candidate
from test_intents_job import write_rows
from tiny_teachers import write_tiny_teacher

import eicompress
from eicompress import cli
from eicompress.answers import (
    IntentAndSlots,
    LabelPrediction,
    Labels,
    LabelSet,
    MultiTask,
    MultiTaskPrediction,
    Number,
    Part,
    Tags,
)
from eicompress.cache import Cache
from eicompress.contracts import Candidate
from eicompress.encoder.quantization import QuantSpec
from eicompress.errors import DataError, ModelError, SpecError
from eicompress.export import folder as artifacts
from eicompress.export.parity import check_parity
from eicompress.plugins import discover
from eicompress.reporting.model_card import card_of
from eicompress.reporting.record_text import to_try
from eicompress.spec import Spec
from eicompress.spec import read as read_spec
from eicompress.training.teacher import ignore
from eicompress.trials.builder import Builder, open_builder
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
TAGS = Part("tags", LabelSet(("music", "sun"), threshold=0.45), pairs=False)
URGENCY = Part("urgency", Number(10.0, 4.0), pairs=False)
SLOTS = Part("slots", IntentAndSlots(("O", "B-sky"), ("ask", "say")), pairs=False)
ENTITIES = Part("entities", Tags(("O", "B-sky", "I-sky")), pairs=False)


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    Path("space.toml").write_text(SPACE)


def write_data(*others: str) -> list[str]:
    """The words of `--data` for a task of texts and one of pairs, and for other kinds."""
    for name in ("topic", "match", *others):
        Path(name).mkdir()
        for split, endings in ENDINGS.items():
            rows = []
            for label, of in (("music", MUSIC), ("weather", WEATHER)):
                for at, text in enumerate(text + ending for ending in endings for text in of):
                    other, same = (MUSIC if at % 2 else WEATHER)[at % 5], (label == "music") == bool(at % 2)
                    of_pair = {"text_pair": other, "label": "yes" if same else "no"}
                    tags = [each for each in ("music", "sun") if each in (label, *text.split())]
                    own = {"topic": {"label": label}, "match": of_pair, "tags": {"label": tags}}
                    rows.append({"text": text, **own.get(name, {"stars": len(text.split())})})
            Path(name, f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return [f"{name}={name}" for name in ("topic", "match", *others)]


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


def test_what_reads_texts_and_pairs_is_asked_both(artifact: Artifact) -> None:
    assert to_try(str(artifact.folder)).endswith("""/artifact "some text" $'some text\\tanother text'""")
    assert 'model.predict(["a text", ("a text", "another")])' in card_of(artifact)


def test_one_task_of_any_kind_answers_as_an_artifact_of_this_task_alone(tmp_path: Path) -> None:
    answer, texts = MultiTask((TAGS, TOPIC, URGENCY)), ["play it", "will it rain"]
    made = artifacts.write(tiny_candidate(outputs=5), answer, tmp_path / "all", pairs=False, manifest={})
    whole = eicompress.load(made.folder)
    for part, place in zip(answer.parts, answer.places, strict=True):
        alone = tiny_candidate(outputs=5)
        alone.encoder.keep_outputs(range(5)[place.own])
        single = artifacts.write(alone, part.answer, tmp_path / part.name, pairs=False, manifest={})
        expected = [each.columns for each in eicompress.load(single.folder).predict(texts)]
        assert [each.columns for each in whole.of_task(part.name).predict(texts)] == expected
        together = [each.answers[part.name] for each in whole.predict(texts) if isinstance(each, MultiTaskPrediction)]
        assert [each.columns for each in together] == expected
    of_two = whole.of_tasks(["tags", "urgency"])
    np.testing.assert_array_equal(of_two.logits(texts), whole.logits(texts)[:, [0, 1, 4]])


def candidate_of(answer: MultiTask) -> Candidate:
    return tiny_candidate(outputs=answer.outputs, word_outputs=answer.word_outputs, pooler=False)


@pytest.mark.parametrize("bits", [None, 8])
def test_tasks_of_words_and_of_texts_answer_from_one_file(tmp_path: Path, bits: int | None) -> None:
    answer, texts = MultiTask((MATCH, URGENCY, SLOTS, ENTITIES)), ["will it rain", ("play it", "it plays"), "play", ""]
    candidate = candidate_of(answer)
    candidate.encoder.set_quantization(*(2 * [bits and QuantSpec(bits)]))
    made = artifacts.write(candidate, answer, tmp_path / "all", pairs=True, manifest={})
    shapes = {
        each.name: [each.dim_param or each.dim_value for each in each.type.tensor_type.shape.dim]
        for each in onnx.load(made.onnx).graph.output
    }
    assert shapes == {
        "match_logits": ["batch", 2],
        "urgency_logits": ["batch", 1],
        "slots_logits": ["batch", "sequence", 4],
        "entities_logits": ["batch", "sequence", 3],
    }
    whole = eicompress.load(made.folder)
    logits = whole.logits(texts)
    assert logits.shape == (4, 4, 10) and not logits[1, 1:].any() and not logits[0, 0, 3:].any()
    check_parity(candidate, texts, answer.standard(logits), answer)
    for part, place in zip(answer.parts, answer.places, strict=True):
        own = [text for text in texts if isinstance(text, str) is not part.pairs]
        alone = whole.of_task(part.name)
        together = [each.answers[part.name] for each in whole.predict(own) if isinstance(each, MultiTaskPrediction)]
        assert [*alone.predict(own)] == together
        np.testing.assert_array_equal(alone.logits(own), place.of(whole.logits(own)))
    of_words = whole.of_tasks(["slots", "entities"])
    np.testing.assert_array_equal(of_words.logits(texts[:1]), logits[:1, 1:, 3:])
    assert whole.of_tasks(["match", "urgency"]).logits(texts[:1]).shape == (1, 3)


def test_a_tagger_beside_others_answers_as_its_own_artifact(tmp_path: Path) -> None:
    answer, texts = MultiTask((TOPIC, ENTITIES)), ["will it rain", "play it"]
    made = artifacts.write(candidate_of(answer), answer, tmp_path / "all", pairs=False, manifest={})
    alone = candidate_of(answer)
    alone.encoder.keep_outputs((2, 3, 4))
    single = artifacts.write(alone, ENTITIES.answer, tmp_path / "entities", pairs=False, manifest={})
    found = eicompress.load(made.folder, task="entities")
    np.testing.assert_allclose(found.logits(texts), eicompress.load(single.folder).logits(texts), atol=1e-5)
    assert found.predict(texts) == [each.answers["entities"] for each in eicompress.load(made.folder).predict(texts)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["predict", "artifact", "--task", "topc", "a"],
            "a task must be one of the artifact's, but got `topc`: did you mean `topic`",
        ),
        (["predict", "artifact", "--task", "match", "a"], "this artifact reads pairs, so a TEXT must have a tab"),
        (["predict", "artifact", "--top", "2", "a"], "`--top` must be asked of a model of labels"),
        (["predict", "artifact", "--reject", "a"], "`--reject` must be asked of a model of labels"),
        (["measure", "artifact", "--data", "topic"], "must have the name of one of the artifact's tasks, NAME=DATA"),
        (["measure", "artifact", "--data", "tpic=topic"], "must be one of the artifact's, but got `tpic`"),
        (
            ["measure", "artifact", "--data", "topic=match"],
            "every label must be one of the artifact's, but row 1",
        ),
        (
            ["measure", "artifact", "--data", "topic=match", "--data", "match=match"],
            "task `topic`: every label must be one of the artifact's",
        ),
        (
            ["measure", "artifact", "--data", "topic=topic", "--data", "match=match", "--quality", "mean_share"],
            "must be mean_quality where no",
        ),
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
    data, model = write_data("tags", "urgency"), write_tiny_teacher(tmp_path / "model", "Bert")
    words = ["--model", str(model), *(word for each in data for word in ("--data", each))]
    words += ["--label", "urgency=stars", "--task", "urgency=regression"]
    search = ["search", *words, "--budget", "40KB", "--space", "space.toml", "--workers", "0", "--trials", "3"]
    assert cli.run([*search, "--teacher-training", "probe"]) == 0
    captured = capsys.readouterr()
    for expected in ("no head of several tasks", "simplest answer of each task", "topic_accuracy", "tf-idf: "):
        assert expected in captured.out + captured.err
    result = eicompress.show("topic-match-tags-urgency")
    assert result.best_candidate is not None and result.baseline is not None
    best = result.best_candidate[1]  # tf-idf is better than what learns from so few texts
    quality = result.baseline.value("quality")
    assert quality == pytest.approx(1.0, abs=0.05), "the model is its own teacher, in half precision"
    named = ("match_accuracy", "tags_micro_f1", "topic_accuracy", "urgency_pearson")
    mean = np.mean([best.value(f"{each}_test") for each in named])
    assert best.value("mean_quality_test") == pytest.approx(mean) and best.facts["parity"]["agreement"] >= 0.995
    folder = Path(best.files["artifact"])

    measured = {each.name: each for each in eicompress.measure(folder, data=data, label="urgency=stars", seq_len=8)}
    assert measured["quality_test"].conditions["metric"] == "mean_quality"
    assert measured["quality_test"].value == pytest.approx(mean)
    for one, name in zip(data, ("topic_accuracy", "match_accuracy", "tags_micro_f1"), strict=False):
        alone = {each.name: each for each in eicompress.measure(folder, data=[one], seq_len=8)}
        assert alone["quality_test"].value == pytest.approx(best.value(f"{name}_test"))
    (other,) = eicompress.compare([folder, folder], data=data[:3], output=tmp_path / "c.html").others
    assert other.difference.mean == 0.0

    page = (tmp_path / "studies" / "topic-match-tags-urgency" / "report.html").read_text(encoding="utf-8")
    assert (
        "Quality of each task" in page
        and "match: Precision and recall" in page
        and "on topic, match, tags, urgency" in page
    )
    assert "urgency: Answers against the numbers" in page and "tags_micro_f1" in page
    assert re.search(r"urgency_pearson -?\d\.\d{3}\b(?!%)", page), "a correlation is no percentage"
    card = Artifact(folder).card.read_text(encoding="utf-8")
    assert (
        "mean_share, test split" in card
        and "topic_accuracy, test split" in card
        and "- Data: `topic`, `match`, `tags`, `urgency`" in card
    )


@pytest.mark.slow
def test_words_beside_texts_go_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slots, entities = write_rows(tmp_path / "slots"), tmp_path / "entities"
    entities.mkdir()
    for split in ENDINGS:
        rows = [json.loads(line) for line in (slots / f"{split}.jsonl").read_text().splitlines()]
        own = [json.dumps({name: row[name] for name in ("tokens", "tags")}) for row in rows]
        (entities / f"{split}.jsonl").write_text("\n".join(own))
    data, model = [*write_data(), "slots=slots", "entities=entities"], write_tiny_teacher(tmp_path / "model", "Bert")
    words = ["--model", str(model), *(word for each in data for word in ("--data", each))]
    search = ["search", *words, "--budget", "40KB", "--space", "space.toml", "--workers", "0", "--trials", "3"]
    assert cli.run([*search, "--teacher-training", "probe", "--study", "all"]) == 0
    captured = capsys.readouterr()
    for expected in (
        "slots: The rows have `tokens`, `tags` and `label`",
        "slots_sentence_accuracy",
        "entities_entity_f1",
    ):
        assert expected in captured.out + captured.err
    result = eicompress.show("all")
    assert result.best is not None and result.baseline is not None
    best = result.best[1]
    assert result.baseline.value("quality") == pytest.approx(1.0, abs=0.05)
    assert best.facts["parity"]["agreement"] >= 0.995
    folder = Path(best.files["artifact"])

    assert cli.run(["predict", str(folder), "play the music", "play it\tit plays"]) == 0
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert all(f"{name}=" in first for name in ("topic", "slots", "entities")) and second.startswith("match=")
    assert cli.run(["predict", str(folder), "--task", "slots", "play the music"]) == 0
    alone = capsys.readouterr().out.splitlines()[0]
    assert f"slots={' '.join(alone.split(chr(9))[:-1])}" in first
    measured = {each.name: each for each in eicompress.measure(folder, data=data, seq_len=8)}
    assert measured["quality_test"].value == pytest.approx(best.value("mean_quality_test"))
    of_slots = {each.name: each for each in eicompress.measure(folder, data="slots=slots", seq_len=8)}
    assert of_slots["quality_test"].value == pytest.approx(best.value("slots_sentence_accuracy_test"))
    (other,) = eicompress.compare([folder, folder], data=data, output=tmp_path / "c.html").others
    assert other.difference.mean == 0.0
    page = (tmp_path / "studies" / "all" / "report.html").read_text(encoding="utf-8")
    assert "entities: Kinds of mistakes" in page and "slots: Precision and recall by type" in page
    card = Artifact(folder).card.read_text(encoding="utf-8")
    assert "`slots_logits` (batch, tokens," in card and "entities_entity_f1, test split" in card


@pytest.mark.slow
def test_simple_baselines_of_texts_are_rivals_beside_tasks_of_words(tmp_path: Path) -> None:
    write_rows(tmp_path / "slots")
    data, model = write_data(), write_tiny_teacher(tmp_path / "model", "Bert")

    def opened(*names: str) -> Builder:
        spec = read_spec({"model": str(model), "data": names, "teacher_training": "probe"})
        return open_builder(spec, discover(), folder=tmp_path / "made", progress=ignore)

    builder = opened(*data, "slots=slots")
    found, alone = builder.simple(0.04), opened(*data).simple(0.04)
    assert found.keys() == {"simplest answer of each task", "tf-idf", "static embeddings"}
    examples, answer = builder.examples, builder.task.answer
    assert isinstance(answer, MultiTask)
    constant = answer.simplest_logits(examples["train"].texts, examples["train"].targets, examples["validation"].texts)
    own = list(answer.divided(examples["validation"].targets))
    of_words = own[-1].part.answer.score(own[-1].targets, own[-1].of(constant))
    for name in ("tf-idf", "static embeddings"):
        record = found[name]
        of_tasks = [record.value(f"{each}_accuracy") or 0.0 for each in ("match", "topic")]
        assert of_tasks == [alone[name].value(f"{each}_accuracy") for each in ("match", "topic")]
        assert record.value("slots_sentence_accuracy") == of_words
        shares = [one / each.taught for one, each in zip([*of_tasks, of_words], own, strict=True)]
        assert record.value("quality") == pytest.approx(np.mean(shares))
        assert "artifact" not in record.files, "it answers not all of the tasks"
        said = "of `slots` the majority intent and most frequent tag of a word, without a file"
        assert record.facts["simple"]["note"].endswith(f" MB; {said}")
    assert opened("slots=slots", "entities=slots").simple(0.04).keys() == {"simplest answer of each task"}


@pytest.mark.slow
def test_words_may_have_a_teacher_of_their_own(tmp_path: Path) -> None:
    write_rows(tmp_path / "slots")
    data, model = [write_data()[0], "slots=slots"], write_tiny_teacher(tmp_path / "model", "Bert", ("other", "labels"))
    of_topic = write_tiny_teacher(tmp_path / "of_topic", "Roberta", ("weather", "music"))
    of_slots = eicompress.teach(model=str(model), data="slots", output="of_slots", timeout="1s").folder
    Path("recipe.toml").write_text('[[steps]]\nstrategy = "distillation"\nepochs = 1.0\ndistortions = 1\n')
    asked: dict[str, Any] = {"model": str(model), "data": data, "recipe": "recipe.toml", "teacher_training": "probe"}
    teachers = [f"topic={of_topic}", f"slots={of_slots}"]
    record = eicompress.compress(**asked, output="made", teacher=teachers)
    found = [record.value(name) or 0 for name in ("topic_accuracy", "slots_sentence_accuracy")]
    qualities = _qualities_of_teachers(read_spec({"model": str(model), "data": data}), [of_topic, of_slots])
    least = np.maximum(qualities, 1 / np.array([20, 20]))
    assert record.value("quality") == pytest.approx(np.mean(np.array(found) / least))


@pytest.mark.slow
def test_a_teacher_of_several_tasks_is_trained_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = write_data(), write_tiny_teacher(tmp_path / "model", "Bert")
    words = ["--model", str(model), *(word for each in data for word in ("--data", each))]
    assert cli.run(["teach", *words, "--output", "taught", "--timeout", "1s", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    beside = found["beside"]
    assert found["quality"] == pytest.approx((beside["match_accuracy"] + beside["topic_accuracy"]) / 2)
    assert {"simplest answer of each task", "tf-idf", "static embeddings"} == found["simple"].keys()
    assert found["simple"]["simplest answer of each task"] == 0.5, "accuracies, as that of the teacher"


@pytest.mark.slow
def test_each_task_may_have_a_teacher_of_its_own(tmp_path: Path) -> None:
    data = write_data("urgency")
    model = write_tiny_teacher(tmp_path / "model", "Bert", ("other", "labels", "these"))
    of_topic = write_tiny_teacher(tmp_path / "of_topic", "Roberta", ("weather", "music"))
    of_match = eicompress.teach(model=str(model), data="match", output="of_match", timeout="1s").folder
    stars = {"label": "stars", "task": "regression", "data": "urgency"}
    of_urgency = eicompress.teach(model=str(model), output="of_urgency", timeout="1s", **stars).folder
    Path("recipe.toml").write_text('[[steps]]\nstrategy = "distillation"\nepochs = 1.0\ndistortions = 1\n')
    both = [f"topic={of_topic}", f"match={of_match}", f"urgency={of_urgency}"]
    of_data = {"model": str(model), "data": data, "label": "urgency=stars", "task": "urgency=regression"}
    asked: dict[str, Any] = {**of_data, "recipe": "recipe.toml", "teacher_training": "probe"}
    record = eicompress.compress(**asked, output="made", teacher=both)
    found = [record.value(name) or 0 for name in ("match_accuracy", "topic_accuracy", "urgency_pearson")]
    qualities = _qualities_of_teachers(read_spec(of_data), [of_match, of_topic, of_urgency])
    assert record.value("quality") == pytest.approx(np.mean(np.array(found) / np.array(qualities)))
    for teachers, said in (
        (both[:2], "must name one for each task, NAME=FOLDER, or none, but `urgency` has none"),
        ([*both, "other=a"], "must be of one of the tasks, but got `other`"),
        ([both[0], str(of_match)], "must have the name of a task, NAME=FOLDER"),
    ):
        with pytest.raises(SpecError, match=said):
            eicompress.compress(**asked, output="not-made", teacher=teachers)
    with pytest.raises(SpecError, match="`--ensemble` must be mean where the answer is a multi_task"):
        eicompress.compress(**asked, output="not-made", ensemble="weighted")
    with pytest.raises((ModelError, DataError), match=r"task `match`: .*labels"):
        eicompress.compress(**asked, output="not-made", teacher=[both[0], f"match={of_topic}", both[2]])


def _qualities_of_teachers(spec: Spec, folders: list[Path]) -> list[float]:
    """Of the teachers of the tasks on validation, each asked on its own."""
    read, found = read_data(discover(), spec), []
    examples, answer = read.examples["validation"], read.task.answer
    assert isinstance(answer, MultiTask)
    for each, folder in zip(answer.divided(examples.targets), folders, strict=True):
        (teacher,) = teachers_in(folder, each.part.answer, "cpu", Cache(Path("other-cache")))
        logits = teacher.outputs([examples.texts[row] for row in each.rows.tolist()]).logits.astype(np.float32)
        found.append(each.part.answer.score(each.targets, logits))
    return found

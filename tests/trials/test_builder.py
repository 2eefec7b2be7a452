import importlib.util
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_candidate, tiny_tokenizer
from safetensors.torch import load_file, save_file
from tiny_teachers import write_tiny_teacher

from eicompress import runtime
from eicompress.answers import TeacherOutputs
from eicompress.contracts import Candidate
from eicompress.encoder.config import LayerConfig
from eicompress.encoder.model import Encoder
from eicompress.errors import DataError, EicompressError, Inapplicable, ModelError
from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.reporting.mistakes import mistakes
from eicompress.spec import read
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.embedding_factorization import EmbeddingFactorization
from eicompress.strategies.general_distillation import GeneralDistillation
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.thin_student import ThinStudent
from eicompress.strategies.vocabulary_pruning import VocabularyPruning
from eicompress.study.record_files import RECORD_BYTES
from eicompress.training import trainer
from eicompress.training.teacher import Ensemble, StoredTeacher, ignore
from eicompress.training.trainer import Trainer
from eicompress.trials import candidate as candidates
from eicompress.trials.builder import Builder, open_builder
from eicompress.trials.inputs import read_start
from eicompress.trials.measuring import Clock
from eicompress.trials.starting_point import write_starting_point
from eicompress.values import Artifact, Progress, Record, Text

RECIPE = Recipe(
    (
        VocabularyPruning(num_tokens=100),
        ThinStudent(layers=2),
        EmbeddingFactorization(size=8),
        Quantization(),
        Distillation(epochs=2, distortions=1),
    )
)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of its own."""
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))


Opener = Callable[..., Builder]


@pytest.fixture
def opened(model_folder: Path, data_folder: Path, tmp_path: Path) -> Opener:
    def make(progress: Callable[[Progress], None] = ignore, **changes: Any) -> Builder:
        given = {"model": str(model_folder), "data": str(data_folder), "teacher_training": "finetune"}
        return open_builder(read({**given, **changes}), discover(), folder=tmp_path / "study", progress=progress)

    return make


def artifact_of(record: Record) -> Artifact:
    return Artifact(Path(record.files["artifact"]))


def test_a_preview_trains_nothing_and_has_the_final_bytes(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = opened()
    trainings: list[Candidate] = []
    fit = Trainer.__call__

    def counted(self: Trainer, candidate: Candidate, training: Any) -> None:
        trainings.append(candidate)
        fit(self, candidate, training)

    monkeypatch.setattr(Trainer, "__call__", counted)
    preview = builder.preview(RECIPE)
    assert not trainings and not preview.trained
    built = builder.build(RECIPE, fidelity=1.0, seed=0, progress=ignore)
    assert len(trainings) == 1 and built.trained
    size = artifact_of(built).size_bytes
    assert preview.value("size_mb") == size / 1e6
    assert sum(built.bytes_by_group.values()) == size


def test_other_models_teach_alone_and_together(opened: Opener, model_folder: Path, tmp_path: Path) -> None:
    folders = [str(write_tiny_teacher(tmp_path / kind, kind)) for kind in ("XLNet", "Roberta")]
    builders = {
        "itself": opened(),
        "xlnet": opened(teacher=folders[:1]),
        "three": opened(teacher=[*folders, str(model_folder)]),
        "best of three": opened(teacher=[*folders, str(model_folder)], ensemble="best"),
    }
    assert len({builder.teacher.digest for builder in builders.values()}) == 4
    assert len({builder.key(RECIPE, fidelity=1.0, seed=0) for builder in builders.values()}) == 4
    assert len({builder.digest for builder in builders.values()}) == 1
    texts = builders["three"].examples["train"].texts
    states = builders["three"].teacher.outputs(texts).states
    alone = [builders[name].teacher.outputs(texts).states for name in ("xlnet", "itself")]
    assert states.shape == (len(texts), 16 + 16 + 24)
    assert np.array_equal(states[:, :16], alone[0]) and np.array_equal(states[:, 32:], alone[1])
    built = [each.build(RECIPE, fidelity=1.0, seed=0, progress=ignore) for each in builders.values()]
    logits = [np.load(each.files["validation_logits"])["logits"].tobytes() for each in built]
    assert len(set(logits)) == 4


def test_teachers_are_weighed_on_texts_that_they_were_not_trained_on(
    opened: Opener, model_folder: Path, tmp_path: Path
) -> None:
    other = str(write_tiny_teacher(tmp_path / "XLNet", "XLNet"))
    builder = opened(teacher=[other, str(model_folder)], ensemble="weighted")
    assert isinstance(builder.teacher, Ensemble)
    assert builder.teacher.held_out.texts == builder.examples["validation"].texts


def test_a_model_that_is_its_own_teacher_by_name_is_the_same_teacher(opened: Opener, model_folder: Path) -> None:
    assert opened(teacher=[str(model_folder)]).teacher.digest == opened().teacher.digest


GENERAL = Recipe((ThinStudent(layers=1), GeneralDistillation(tokens=100)))


def test_a_study_starts_from_what_another_prepared(opened: Opener, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the sun will stop the rain\nwhat is the song today")
    first = opened(unlabelled=[str(tmp_path / "text.txt")])
    write_starting_point(first, GENERAL, tmp_path / "starts" / "general", progress=ignore)
    assert [each.name for each in (tmp_path / "starts").iterdir()] == ["general"]
    second = opened(start=str(tmp_path / "starts" / "general"))
    model, whole = second.start.model, second.source.model
    assert isinstance(model, Encoder) and isinstance(whole, Encoder) and len(model.layers) == 1
    assert torch.equal(model.classifier.weight, whole.classifier.weight)
    assert not torch.equal(model.words.weight, whole.words.weight)
    assert first.key(RECIPE, fidelity=1.0, seed=0) != second.key(RECIPE, fidelity=1.0, seed=0)
    built = second.build(Recipe((Quantization(), Distillation(epochs=1.0))), fidelity=1.0, seed=0, progress=ignore)
    assert built.value("size_mb") == second.preview(Recipe((Quantization(),))).value("size_mb")


def test_pairs_say_that_single_sentences_teach_them_nothing(opened: Opener, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("what a day")
    rows = [{"text": f"play {n}", "text_pair": each, "label": each} for n in range(20) for each in ("yes", "no")]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    named = opened(unlabelled=[str(tmp_path / "text.txt")])
    pairs = opened(
        data=str(tmp_path / "pairs.jsonl"), task="pair_classification", unlabelled=[str(tmp_path / "text.txt")]
    )
    assert not any("pairs of texts" in note for note in named.notes)
    assert any("pairs of texts" in note for note in pairs.notes)


def test_a_starting_point_takes_the_head_of_another_task(opened: Opener, tmp_path: Path) -> None:
    write_starting_point(opened(), Recipe((ThinStudent(layers=2, hidden=0.67),)), tmp_path / "start", progress=ignore)
    baseline = tiny_candidate(seed=5, outputs=7, pooler=True)
    begun = candidates.starting_point(candidates.load(tmp_path / "start"), baseline, "start")
    kept = list(begun.origin.hidden)
    assert isinstance(begun.model, Encoder) and isinstance(baseline.model, Encoder)
    assert begun.model.config.outputs == 7 and len(kept) == 16
    assert torch.equal(begun.model.classifier.weight, baseline.model.classifier.weight[:, kept])
    assert begun.model(*(torch.ones((1, 4), dtype=torch.int64),) * 2, torch.zeros((1, 4), dtype=torch.int64)).shape == (
        1,
        7,
    )


def test_a_starting_point_that_a_package_brings_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install eicompress-starts"):
        read_start("builtin:minilm-1", tiny_candidate())


@pytest.mark.parametrize(("start", "said"), [("none", "`eicompress prepare` wrote"), ("large", "a larger one")])
def test_a_starting_point_that_does_not_fit_is_refused(start: str, said: str, opened: Opener, tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    candidates.save(tiny_candidate(layers=(LayerConfig(heads=4, head_size=6, ffn=32),) * 5), tmp_path / "large")
    with pytest.raises(ModelError, match=said):
        opened(start=str(tmp_path / start))


def test_a_measured_preview_is_not_measured_again(opened: Opener) -> None:
    first = opened().preview(RECIPE)
    assert opened().preview(RECIPE) == first


def test_a_preview_leaves_no_artifact(opened: Opener, tmp_path: Path) -> None:
    opened().preview(RECIPE)
    assert not list((tmp_path / "study" / "previews").iterdir())


def test_quality_is_that_of_the_onnx_file_on_validation(opened: Opener) -> None:
    builder = opened()
    record = builder.build(RECIPE, fidelity=1.0, seed=0, progress=ignore)
    examples = builder.examples["validation"]
    logits = runtime.load(record.files["artifact"]).logits(examples.texts)
    assert record.value("quality") == pytest.approx(builder.task.score(logits, examples.targets))
    assert np.array_equal(np.load(record.files["validation_logits"])["logits"], logits)
    assert record.value("quality_test") is None


def test_the_test_split_is_read_for_promoted_artifacts_alone(opened: Opener) -> None:
    builder = opened()
    trained = builder.build(RECIPE, fidelity=1.0, seed=0, progress=ignore)
    assert not {"quality_test", "download_mb"} & {each.name for each in trained.measurements}
    record = builder.promote_extras(trained)
    assert record.value("quality_test") is not None
    assert 0 < (record.value("download_mb") or 0) < (record.value("size_mb") or 0)
    taken = [each for each in record.measurements if each.name.startswith("latency_ms_at_")]
    assert taken and all(each.name.endswith(f"_{each.conditions['sequence_length']}") for each in taken)
    assert 0.0 <= record.facts["baseline"]["quality_test"] <= 1.0


def test_in_little_time_the_baseline_is_measured_on_some_texts_and_on_test_if_that_is_quick(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eicompress.trials.baseline.FEWEST", 3)
    builder = opened(timeout="1s")
    hurried = replace(builder, baseline_s=0.0)
    part, whole = (each.baseline() for each in (hurried, replace(builder, baseline_s=math.inf)))
    counts = [
        next(each.conditions["examples"] for each in of.measurements if each.name == "quality") for of in (part, whole)
    ]
    assert counts == [2, len(builder.examples["validation"])] and builder.baseline_s == 0.1
    assert (part.value("latency_ms") or 0) > 0 and part.value("size_mb") == whole.value("size_mb")
    assert hurried.baseline() == whole, "what is known of all texts is taken"
    record = builder.build(RECIPE, fidelity=1.0, seed=0, progress=ignore)
    assert builder.test_s() > 0
    assert builder.promote_extras(record, 0.0).facts["baseline"] == {"quality_test": None}
    assert builder.promote_extras(record, 60.0).facts["baseline"]["quality_test"] is not None
    assert replace(builder).test_s() == 0.0, "it is read once"
    assert builder.promote_extras(record, 0.0).facts["baseline"]["quality_test"] is not None


def test_a_timed_artifact_tells_how_many_validation_texts_it_cuts(opened: Opener) -> None:
    builder = opened()
    short = Recipe((ThinStudent(layers=1, length_coverage=0.5),))
    record = builder.timed(builder.build(short, fidelity=1.0, seed=0, progress=ignore))
    model = runtime.load(artifact_of(record).folder)
    texts = builder.examples["validation"].texts
    whole = tiny_tokenizer()
    whole.no_truncation()
    cut = sum(len(whole.encode(text).ids) > (model.limit or 0) for text in texts)
    assert record.facts["cut"] == {"texts": cut, "of": len(texts), "tokens": model.limit}


def test_unlabelled_text_holds_nothing_that_is_measured(opened: Opener, tmp_path: Path) -> None:
    examples = opened().examples
    measured = [str(text) for name in ("validation", "test") for text in examples[name].texts]
    (tmp_path / "own.txt").write_text("\n".join([*(text.upper() for text in measured), "Something else."]))
    assert list(opened(unlabelled=(str(tmp_path / "own.txt"),)).unlabelled) == ["Something else."]


def test_of_a_promoted_artifact_it_is_known_where_bytes_and_milliseconds_go(opened: Opener) -> None:
    builder = opened()
    record = builder.promote_extras(builder.build(RECIPE, fidelity=1.0, seed=0, progress=ignore))
    sizes = record.facts["steps"]["mb"]
    assert len(sizes) == len(RECIPE.steps) and sizes[-1] == pytest.approx(record.value("size_mb"), rel=0.02)
    tensors = record.facts["tensors"]["largest"]
    for group in ("embedding", "layers", "head"):
        assert sum(size for of, _, size in tensors if of == group) == record.bytes_by_group[group]
    operators = record.facts["operators"]["ms"]
    assert "Gather" in operators and "DynamicQuantizeMatMul" in operators
    assert all(ms >= 0 for ms in operators.values())
    assert len(json.dumps(record.to_json())) < RECORD_BYTES


def test_the_same_recipe_and_seed_give_the_same_bytes(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bytes_of = []
    for name in ("one", "two"):
        monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / name))
        record = opened().build(RECIPE, fidelity=1.0, seed=0, progress=ignore)
        bytes_of.append(
            {path.name: path.read_bytes() for path in artifact_of(record).folder.rglob("*") if path.is_file()}
        )
    assert bytes_of[0] == bytes_of[1]


def test_keys_tell_recipe_seed_and_fidelity_apart(opened: Opener) -> None:
    builder = opened()
    other = Recipe(RECIPE.steps[:-1])
    keys = {
        builder.key(RECIPE, fidelity=1.0, seed=0),
        builder.key(RECIPE, fidelity=0.5, seed=0),
        builder.key(RECIPE, fidelity=1.0, seed=1),
        builder.key(other, fidelity=1.0, seed=0),
    }
    assert len(keys) == 4 and builder.key(RECIPE, fidelity=1.0, seed=0) in keys


def test_a_phase_inside_of_another_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 4.0, 10.0])
    monkeypatch.setattr("eicompress.trials.measuring.time.perf_counter", lambda: next(ticks))
    clock = Clock()
    with clock.phase("training"), clock.phase("teacher"):
        pass
    assert clock.seconds == {"training": 7.0, "teacher": 3.0}


def test_what_takes_as_long_at_any_length_is_no_part_of_the_training(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder, seconds = opened(), {"now": 0.0}
    monkeypatch.setattr("eicompress.trials.measuring.time.perf_counter", lambda: seconds["now"])
    answered, tokenized = StoredTeacher.outputs, trainer.tokenize

    def slow(teacher: StoredTeacher, texts: Sequence[Text]) -> TeacherOutputs:
        seconds["now"] += 100.0
        return answered(teacher, texts)

    def slowly(*given: Any, **more: Any) -> Any:
        seconds["now"] += 7.0
        return tokenized(*given, **more)

    trainer._tokenized.cache_clear()
    monkeypatch.setattr(StoredTeacher, "outputs", slow)
    monkeypatch.setattr(trainer, "tokenize", slowly)
    took = builder.build(RECIPE, fidelity=1.0, seed=0, progress=ignore).seconds_by_phase
    assert took["teacher"] >= 100.0 and took["applying"] == 7.0 and took["training"] == 0.0


def test_labels_in_another_order_than_the_models_are_put_right(opened: Opener, model_folder: Path) -> None:
    # The model says weather, music; the data says music, weather.
    builder = opened()
    weights = load_file(model_folder / "model.safetensors")["classifier.weight"]
    assert torch.equal(builder.source.model.classifier.weight, weights[[1, 0]])
    assert not builder.notes


def test_a_model_without_a_head_for_the_task_gets_a_teacher_trained_once(
    opened: Opener, model_folder: Path, data_folder: Path
) -> None:
    weights = load_file(model_folder / "model.safetensors")
    save_file(
        {name: each for name, each in weights.items() if "classifier" not in name}, model_folder / "model.safetensors"
    )
    seen: list[Progress] = []
    builder = opened(progress=seen.append)
    assert "has no classifier for this task, so a teacher was trained first" in builder.notes[-1]
    assert seen[0].note.endswith("so a teacher is trained first, for 4 epochs of the training rows.")
    assert {each.phase for each in seen} == {"teacher"}
    seen.clear()
    again = opened(progress=seen.append)
    assert not seen
    assert torch.equal(again.source.model.classifier.weight, builder.source.model.classifier.weight)


def test_a_model_that_is_not_there_is_said_before_the_data_is_read(opened: Opener) -> None:
    with pytest.raises(ModelError, match="`no-such-model` must be a folder"):
        opened(model="no-such-model", data="no-such-data.jsonl")


@pytest.mark.parametrize("named", [{"teacher": ["gone"]}, {"start": "gone"}, {"unlabelled": ["./gone.txt"]}])
def test_what_else_is_named_is_found_wrong_before_a_teacher_is_trained(
    named: dict[str, object], opened: Opener, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = load_file(model_folder / "model.safetensors")
    headless = {name: each for name, each in weights.items() if "classifier" not in name}
    save_file(headless, model_folder / "model.safetensors")
    monkeypatch.setattr("eicompress.trials.builder.with_teacher", lambda *_: pytest.fail("a teacher was trained"))
    with pytest.raises(EicompressError, match="gone"):
        opened(**named)


def test_pairs_are_distinguished_from_single_texts_by_the_columns(opened: Opener, data_folder: Path) -> None:
    for path in data_folder.glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("\n".join(json.dumps({**row, "text_pair": "what is it"}) for row in rows))
    builder = opened()
    assert builder.task.name == "pair_classification"
    record = builder.build(RECIPE, fidelity=0.5, seed=0, progress=ignore)
    model = runtime.load(record.files["artifact"])
    assert model.pairs and model.predict([("play the song", "what is it")])[0].label in ("music", "weather")
    words = runtime.load(artifact_of(builder.simple(None)["tf-idf"]).folder)
    assert words.pairs and words.predict([("play the song", "what is it")])[0].label == "music"


def test_what_cannot_be_applied_says_so_in_the_preview(opened: Opener) -> None:
    with pytest.raises(Inapplicable, match="the model has 3 layers"):
        opened().preview(Recipe((ThinStudent(layers=9),)))


def test_bad_models_and_data_are_refused(opened: Opener, data_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="must be a folder"):
        opened(model=str(tmp_path / "none"))
    with pytest.raises(DataError, match="does not exist"):
        opened(data="./none")
    with pytest.raises(DataError, match="label"):
        opened(label="intent")


def test_the_baseline_is_measured_once(opened: Opener) -> None:
    first = opened().baseline()
    assert replace(opened().baseline()) == first
    assert artifact_of(first).folder.is_dir() and first.value("quality") is not None


@pytest.mark.parametrize(("name", "budget"), [("tf-idf", 0.0025), ("static embeddings", 0.006)])
def test_simple_baselines_are_artifacts_in_the_budget(opened: Opener, name: str, budget: float) -> None:
    builder = opened()
    found = builder.simple(budget)
    assert list(found) == ["majority class", "static embeddings", "tf-idf"]
    assert found["majority class"].value("quality") == 0.5 and found["majority class"].value("size_mb") is None
    record = found[name]
    assert record.value("size_mb") == artifact_of(record).size_mb <= budget
    assert (record.value("latency_ms") or 0) > 0 and record.recipe == () and record.bytes_by_group["tokenizer"]
    model = runtime.load(artifact_of(record).folder)
    validation = builder.examples["validation"]
    assert model.checked
    assert builder.task.score(model.logits(validation.texts), validation.targets) == record.value("quality")
    assert builder.simple(budget) == found
    promoted = builder.promote_extras(record)
    assert promoted.value("quality_test") is not None and promoted.facts["simple"]["name"] == name


def test_a_budget_without_room_for_a_word_is_reported(opened: Opener) -> None:
    found = opened().simple(0.0001)
    reasons = {name: (found[name].outcome, found[name].reason) for name in ("tf-idf", "static embeddings")}
    assert reasons == {
        "tf-idf": ("inapplicable", "not even one word fits into 0.0001 MB"),
        "static embeddings": ("inapplicable", "not even one dimension fits into 0.0001 MB"),
    }


def test_the_baseline_tells_what_a_report_needs(opened: Opener) -> None:
    builder = opened()
    baseline = builder.baseline()
    kept = json.loads(Path(baseline.files["validation_examples"]).read_text(encoding="utf-8"))
    validation = builder.examples["validation"]
    assert kept == {
        "answer": builder.task.answer.to_json(),
        "targets": validation.targets.tolist(),
        "texts": list(validation.texts),
    }
    assert np.load(baseline.files["validation_logits"])["logits"].shape == (len(validation), 2)
    record = builder.build(RECIPE, fidelity=0.5, seed=0, progress=ignore)
    found = mistakes(baseline, record, builder.folder)
    assert found is not None and f"of {len(validation)} validation texts" in found.summary

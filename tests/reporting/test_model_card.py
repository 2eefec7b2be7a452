import json
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import metadata_load

from eicompress.errors import ModelError
from eicompress.metrics.quality import CORRELATION
from eicompress.reporting.model_card import card, card_of, write_card
from eicompress.study.objective import built_in
from eicompress.values import ADJUSTMENT, Artifact, Measurement, Record

METRICS = built_in()
PHONE = {"device": "phone", "machine": "Cortex-A55", "threads": 1, "batch": 1, "sequence_length": 19}
RECORD = Record(
    recipe=({"strategy": "quantization", "layer_bits": 4},),
    draw=0,
    outcome="complete",
    trained=True,
    measurements=(
        Measurement("size_mb", 1.838, "MB"),
        Measurement("latency_ms", 0.46, "ms", PHONE),
        Measurement("quality", 0.9513, "", {"metric": "accuracy", "split": "validation", "examples": 3000}),
        Measurement("quality_test", 0.9502, "", {"metric": "accuracy", "split": "test", "examples": 4500}),
    ),
    facts={"baseline": {"quality_test": 0.962}},
    versions={"onnx": "1.0", "machine": "a phone"},
)
BASELINE = Record(
    (), -1, "complete", measurements=(Measurement("quality", 0.965, ""), Measurement("size_mb", 91.6, "MB"))
)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    folder = tmp_path / "trial-0001"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"id2label": {"0": "music", "1": "weather"}}))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 128}')
    return Artifact(folder)


def test_the_hub_reads_the_metadata(artifact: Artifact) -> None:
    write_card(
        artifact, RECORD, BASELINE, {"model": "someone/minilm", "data": "someone/intents", "task": ""}, built_in()
    )
    found = metadata_load(artifact.card)
    assert found is not None
    assert (found["pipeline_tag"], found["base_model"], found["datasets"]) == (
        "text-classification",
        "someone/minilm",
        ["someone/intents"],
    )
    assert "license" not in found and "language" not in found
    metrics = [
        (each["dataset"]["split"], each["metrics"][0]["type"], each["metrics"][0]["value"])
        for each in found["model-index"][0]["results"]
    ]
    assert metrics == [("validation", "accuracy", 0.9513), ("test", "accuracy", 0.9502)]


def test_people_read_numbers_with_their_conditions(artifact: Artifact) -> None:
    text = card(artifact, RECORD, BASELINE, {"model": "m", "data": "d"}, METRICS)
    assert "chosen by validation" in text and "chosen by" not in card(artifact, RECORD, None, {}, METRICS)
    assert "| size of the folder, tokenizer included | 1.84 MB | 91.6 MB |" in text
    assert "| latency of one text, median | 0.46 ms |  | threads 1, batch 1, sequence length 19 |" in text
    assert "| accuracy, test split | 95.02% | 96.20% | examples 4500 |" in text
    assert "taken on phone: Cortex-A55" in text and "`music`, `weather`" in text
    assert '[[steps]]\nstrategy = "quantization"\nlayer_bits = 4' in text
    assert "# license: choose one" in text and "one text at a time" in text


def test_a_correlation_is_no_percentage(artifact: Artifact) -> None:
    config = {"id2label": {"0": "grade"}, "problem_type": "regression"}
    (artifact.folder / "config.json").write_text(json.dumps(config))
    conditions = {"metric": "pearson", "split": "validation", "examples": 300, CORRELATION: True}
    correlation = Measurement("quality", 0.9513, "", conditions)
    text = card(artifact, replace(RECORD, measurements=(correlation,)), BASELINE, {}, METRICS)
    assert "| pearson, validation split | 0.9513 | 0.9650 | examples 300 |" in text


def test_what_was_added_to_the_logits_is_said(artifact: Artifact) -> None:
    record = replace(RECORD, facts={**RECORD.facts, ADJUSTMENT: {"O": -1.6053}})
    text = card(artifact, record, BASELINE, {"model": "m"}, METRICS)
    assert "- Adjusted on validation after the training: -1.61 to the logit of `O`\n" in text


def test_teachers_are_named_beside_what_was_compressed(artifact: Artifact) -> None:
    text = card(
        artifact, RECORD, BASELINE, {"model": "small", "data": "d", "teacher": ["large", "/home/me/other"]}, built_in()
    )
    assert "- Compressed out of: `small`\n- Teacher: `large`, `other`\n- Data: `d`" in text


def test_paths_of_this_machine_stay_here(artifact: Artifact, tmp_path: Path) -> None:
    model = tmp_path / "teacher"
    model.mkdir()
    (model / "README.md").write_text("---\nlanguage: de\n---\n")
    write_card(artifact, RECORD, None, {"model": str(model), "data": str(tmp_path / "texts")}, METRICS)
    text = artifact.card.read_text(encoding="utf-8")
    assert str(tmp_path) not in text and "`teacher`" in text and "`texts`" in text
    found = metadata_load(artifact.card)
    assert found is not None and found["language"] == "de" and "base_model" not in found


def test_without_a_card_the_manifest_tells_what_it_knows(artifact: Artifact) -> None:
    artifact.manifest.write_text(json.dumps({"recipe": [{"strategy": "svd"}], "versions": {"onnx": "1.0"}}))
    text = card_of(artifact)
    assert 'strategy = "svd"' in text and "of the full training" not in text
    write_card(artifact, replace(RECORD, recipe=()), None, {}, METRICS)
    assert card_of(artifact) == artifact.card.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "manifest", [{"recipe": [3]}, {"recipe": [{"knob": 1}]}, {"facts": None}, {"facts": 5}, {"versions": None}]
)
def test_a_manifest_that_tells_something_else_is_refused(artifact: Artifact, manifest: dict[str, object]) -> None:
    artifact.manifest.write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="must tell how the artifact was made, as eicompress writes it, but does not"):
        card_of(artifact)


def test_it_says_after_how_many_tokens_texts_are_cut(artifact: Artifact) -> None:
    said = "- It reads the first 128 tokens of a text; the rest is cut off."
    assert f"{said}\n" in card(artifact, RECORD, None, {}, METRICS)
    cutting = replace(RECORD, facts={"cut": {"texts": 31, "of": 2000, "tokens": 128}})
    shown = card(artifact, cutting, None, {}, METRICS)
    assert f"{said} 31 of 2,000 validation texts (1.6%) are cut after 128 tokens.\n" in shown

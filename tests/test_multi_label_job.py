"""Lists of labels, from the command line to the card."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from conftest import MUSIC, WEATHER, tiny_tokenizer
from tiny_teachers import write_tiny_teacher

import eicompress
from eicompress import cli, runtime
from eicompress.answers import LabelSet, LabelSetPrediction
from eicompress.errors import ModelError, SpecError
from eicompress.plugins import discover
from eicompress.spec import read
from eicompress.training.foreign_teacher import open_pretrained
from eicompress.training.teacher import ignore
from eicompress.trials.builder import Builder, open_builder
from eicompress.values import Artifact

SPACE = """
[[slot]]
strategy = "layer_pruning"
count = 1

[[slot]]
strategy = "quantization"

[[slot]]
strategy = "distillation"
epochs = 6.0
distortions = 1
"""
ENDINGS = {"train": ("", " today", " will", " the"), "validation": (" sun",), "test": (" song",)}
LABELS = ("music", "weather", "weekly")


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    Path("space.toml").write_text(SPACE)


def labels_of(text: str) -> list[str]:
    """Some texts have two labels, and some have none."""
    found = ["music"] if text.startswith(MUSIC) else ["weather"]
    return [] if "stop" in text else [*found, "weekly"] if "the" in text.split() else found


def write_topics(folder: Path) -> Path:
    folder.mkdir()
    for split, endings in ENDINGS.items():
        texts = [text + ending for ending in endings for text in (*MUSIC, *WEATHER)]
        rows = [json.dumps({"text": text, "labels": labels_of(text)}) for text in texts]
        (folder / f"{split}.jsonl").write_text("\n".join(rows))
    return folder


def write_multi_label_model(folder: Path) -> Path:
    """A model of `transformers` that answers each label on its own."""
    write_tiny_teacher(folder, "Bert", tuple(reversed(LABELS)))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "problem_type": "multi_label_classification"}))
    return folder


def opened(model: Path, data: Path, **more: object) -> Builder:
    spec = read({"model": str(model), "data": str(data), **more})
    return open_builder(spec, discover(), folder=Path("work"), progress=ignore)


@pytest.mark.slow
def test_lists_of_labels_go_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = write_topics(tmp_path / "topics"), write_tiny_teacher(tmp_path / "model", "Bert")
    words = ["--model", str(model), "--data", str(data), "--budget", "40KB", "--space", "space.toml", "--workers", "0"]
    assert cli.run(["search", *words, "--trials", "1", "--teacher-training", "probe"]) == 0
    printed = capsys.readouterr().out
    assert "so the task is `multi_label_classification`" in printed and "linear multi-label classifier" in printed
    assert "most frequent labels: micro_f1 0." in printed and "tf-idf: 0.00" in printed
    (record,) = eicompress.show("topics").promoted.values()
    assert {"macro_f1", "exact_match", "macro_f1_test"} <= {each.name for each in record.measurements}
    artifact = Artifact(Path(record.files["artifact"]))
    config = json.loads((artifact.folder / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification" and config["pipeline_tag"] == "text-classification"
    assert 0 < config["threshold"] < 1 and record.value("size_mb") == artifact.size_mb
    assert transformers.AutoConfig.from_pretrained(artifact.folder).problem_type == "multi_label_classification"

    loaded = eicompress.load(artifact.folder)
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    found = loaded.predict([row["text"] for row in rows])
    assert loaded.checked and all(isinstance(each, LabelSetPrediction) for each in found)
    pairs = [({*each.labels}, {*row["labels"]}) for each, row in zip(found, rows, strict=True)]
    right, both = (sum(len(part) for part in parts) for parts in ([a & b for a, b in pairs], sum(pairs, ())))
    measured = {each.name: each for each in eicompress.measure(artifact.folder, data=str(data), seq_len=8)}
    assert measured["quality_test"].value == pytest.approx(2 * right / both), "what `predict` prints is what counts"
    assert measured["quality_test"].value == pytest.approx(record.value("quality_test"))
    assert measured["quality_test"].conditions["metric"] == "micro_f1"
    comparison = eicompress.compare([artifact.folder, artifact.folder], data=str(data))
    assert comparison.others[0].difference.mean == 0.0 and comparison.others[0].p_value is None

    assert cli.run(["predict", str(artifact.folder), "--json", "stop it", "will it rain"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(line.keys() == {"text", "labels", "confidences"} for line in lines)
    assert cli.run(["predict", str(artifact.folder), "--reject", "stop it"]) == 2

    page = (tmp_path / "studies" / "topics" / "report.html").read_text(encoding="utf-8")
    assert "Texts by kind of mistake" in page and "How often each label is answered" in page
    assert "Most confused" not in page
    card = artifact.card.read_text(encoding="utf-8")
    assert "A text multi-label classifier" in card and "micro_f1, test split" in card and "is answered from 0." in card


def test_a_multi_label_model_is_the_baseline_and_the_teacher_as_it_is(tmp_path: Path) -> None:
    folder = write_multi_label_model(tmp_path / "model")
    builder = opened(folder, write_topics(tmp_path / "topics"))
    assert builder.head is None, "it needs no training first"
    texts = [str(text) for text in builder.examples["validation"].texts]
    model, tokenizer = transformers.BertForSequenceClassification.from_pretrained(folder).eval(), tiny_tokenizer()
    with torch.inference_mode():
        found = [model(torch.tensor([tokenizer.encode(text).ids])).logits[0].numpy()[::-1] for text in texts]
    record = builder.baseline()
    assert runtime.load(record.files["artifact"]).logits(texts) == pytest.approx(np.array(found), abs=1e-4)
    assert builder.teacher.outputs(texts).logits == pytest.approx(np.array(found), abs=0.06)  # in bfloat16

    logits, _ = open_pretrained(folder, LabelSet(LABELS), "cpu").answers(texts, lambda _: None)
    assert logits == pytest.approx(np.array(found), abs=0.06)  # in bfloat16
    with pytest.raises(ModelError, match="must answer each label on its own"):
        open_pretrained(write_tiny_teacher(tmp_path / "labels", "Bert", LABELS), LabelSet(LABELS), "cpu")


def test_labels_on_their_own_do_not_say_which_teacher_is_surer(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="`--ensemble` must be mean where the answer is a set of labels"):
        opened(write_multi_label_model(tmp_path / "model"), write_topics(tmp_path / "topics"), ensemble="best")

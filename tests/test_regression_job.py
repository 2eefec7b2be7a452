"""Numbers instead of labels, from the command line to the card."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from conftest import MUSIC, WEATHER, tiny_tokenizer
from tiny_teachers import write_tiny_teacher

import eicompress
from eicompress import cli, runtime
from eicompress.answers import Number, NumberPrediction
from eicompress.errors import DataError, ModelError, SpecError
from eicompress.plugins import discover
from eicompress.spec import read
from eicompress.training.foreign_teacher import open_pretrained
from eicompress.training.teacher import ignore
from eicompress.trials.builder import Builder, open_builder
from eicompress.values import Artifact

SPACE = """
[[slot]]
strategy = "layer_pruning"
count = { low = 1, high = 2 }

[[slot]]
strategy = "quantization"
layer_bits = { choices = [2, 4, 8] }

[[slot]]
strategy = "distillation"
epochs = 4.0
distortions = 1
logits = { choices = ["kl", "mse"] }
"""
ENDINGS = {"train": ("", " today", " will", " the"), "validation": (" sun",), "test": (" song",)}


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    Path("space.toml").write_text(SPACE)


def grade(text: str) -> float:
    """Around 2,000, so that nobody who forgets the units passes; weather has the higher ones."""
    return 2000.25 + len(text) / 4 + (20 if text.startswith(WEATHER) else 0)


def write_grades(folder: Path, *, pairs: bool = False) -> Path:
    folder.mkdir()
    for split, endings in ENDINGS.items():
        texts = [text + ending for ending in endings for text in (*MUSIC, *WEATHER)]
        more = {"text_pair": "what is it"} if pairs else {}
        lines = [json.dumps({"text": text, **more, "label": grade(text)}) for text in texts]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


def write_regressor(folder: Path) -> Path:
    """A model of `transformers` with one output, in the units of the grades."""
    write_tiny_teacher(folder, "Bert", ("LABEL_0",))
    model = transformers.BertForSequenceClassification.from_pretrained(folder)
    model.classifier.weight.data *= 10
    model.classifier.bias.data += 2010
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_grades_go_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = write_grades(tmp_path / "grades"), write_tiny_teacher(tmp_path / "model", "Bert")
    words = ["--model", str(model), "--data", str(data), "--budget", "40KB", "--space", "space.toml", "--workers", "0"]
    assert cli.run(["search", *words, "--trials", "3", "--teacher-training", "probe"]) == 0
    printed = capsys.readouterr()
    assert "so the task is `regression`" in printed.out + printed.err
    assert "linear regression head" in printed.out + printed.err and "mean:" in printed.out + printed.err
    result = eicompress.show("grades")
    assert result.best is not None
    best = result.best[1]
    assert best.value("quality_test") is not None and best.value("spearman") is not None
    assert result.baseline is not None and result.baseline.files["validation_examples"]
    folder = Path(best.files["artifact"])
    assert json.loads((folder / "config.json").read_text())["problem_type"] == "regression"
    assert transformers.AutoConfig.from_pretrained(folder).num_labels == 1

    assert cli.run(["predict", str(folder), "will it rain", "play a song"]) == 0
    rain, song = (float(line.split("\t")[0]) for line in capsys.readouterr().out.splitlines())
    assert 1980 < song < 2060 and 1980 < rain < 2060
    (found,) = eicompress.load(folder).predict(["will it rain"])
    assert isinstance(found, NumberPrediction) and found.number == pytest.approx(rain, rel=1e-4)

    measured = {each.name: each for each in eicompress.measure(folder, data=str(data), seq_len=8)}
    assert measured["quality_test"].value == pytest.approx(best.value("quality_test"), abs=1e-6)
    assert measured["quality_test"].conditions["metric"] == "pearson" and "spearman_test" in measured
    comparison = eicompress.compare([folder, folder], data=str(data), output=tmp_path / "c.html")
    (other,) = comparison.others
    assert other.difference.mean == other.difference.low == 0.0 and other.p_value is None
    assert "McNemar" not in (tmp_path / "c.html").read_text() and "Spearman" in (tmp_path / "c.html").read_text()

    page = (tmp_path / "studies" / "grades" / "report.html").read_text(encoding="utf-8")
    assert "Largest errors" in page and "Answers against the numbers" in page and "Most confused" not in page
    card = Artifact(folder).card.read_text(encoding="utf-8")
    assert (
        "A text regressor" in card
        and "pearson, test split" in card
        and "spearman, validation split" in card
        and "## Labels" not in card
    )
    assert re.search(r"pipeline_tag: text-classification", card) and "always be 1" in card


def opened(model: Path, data: Path, **more: object) -> Builder:
    spec = read({"model": str(model), "data": str(data), **more})
    return open_builder(spec, discover(), folder=Path("work"), progress=ignore)


def by_transformers(folder: Path, texts: list[str]) -> np.ndarray:
    model, tokenizer = transformers.BertForSequenceClassification.from_pretrained(folder).eval(), tiny_tokenizer()
    with torch.inference_mode():
        found = [model(torch.tensor([tokenizer.encode(text).ids])).logits[0, 0] for text in texts]
    return np.array([float(each) for each in found])


def test_a_model_with_one_output_is_the_baseline_and_answers_in_its_own_units(tmp_path: Path) -> None:
    folder = write_regressor(tmp_path / "model")
    builder = opened(folder, write_grades(tmp_path / "grades"))
    assert builder.head is None, "it needs no training first"
    texts = [str(text) for text in builder.examples["validation"].texts]
    model = runtime.load(builder.baseline().files["artifact"])
    assert model.logits(texts)[:, 0] == pytest.approx(by_transformers(folder, texts), abs=1e-2)


def test_any_model_with_one_output_teaches_in_the_tasks_units(tmp_path: Path) -> None:
    folder = write_regressor(tmp_path / "model")
    answer, texts = Number(2010.0, 5.0), [*MUSIC, *WEATHER]
    logits, _ = open_pretrained(folder, answer, "cpu").answers(texts, lambda _: None)
    assert answer.in_units(logits[:, 0]) == pytest.approx(by_transformers(folder, texts), abs=0.02)
    with pytest.raises(ModelError, match="must answer a number"):
        open_pretrained(write_tiny_teacher(tmp_path / "labels", "Bert"), answer, "cpu")


def test_pairs_of_texts_have_numbers_too_and_the_file_says_that_it_reads_them(tmp_path: Path) -> None:
    builder = opened(write_regressor(tmp_path / "model"), write_grades(tmp_path / "grades", pairs=True))
    assert builder.task.pairs and builder.task.name == "regression"
    model = runtime.load(builder.baseline().files["artifact"])
    (found,) = model.predict([("will it rain", "what is it")])
    assert model.pairs and isinstance(found, NumberPrediction)


def test_what_is_no_number_is_named_with_file_and_row(tmp_path: Path) -> None:
    data = write_grades(tmp_path / "grades")
    rows = (data / "validation.jsonl").read_text().splitlines()
    rows[2] = json.dumps({"text": "stop it", "label": "warm"})
    (data / "validation.jsonl").write_text("\n".join(rows))
    with pytest.raises(DataError, match=r"`validation.jsonl`, row 3, column `label`, must be a finite number, but got"):
        opened(write_regressor(tmp_path / "model"), data, task="regression")


def test_numbers_do_not_say_which_teacher_is_surer(tmp_path: Path) -> None:
    model = write_regressor(tmp_path / "model")
    with pytest.raises(SpecError, match="`--ensemble` must be mean where the answer is a number"):
        opened(model, write_grades(tmp_path / "grades"), ensemble="best")

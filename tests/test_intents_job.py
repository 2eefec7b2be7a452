"""Intents and slots, from the command line to the card."""

import json
from pathlib import Path

import pytest
from conftest import MUSIC, WEATHER
from test_tagging_job import ENDINGS, SPACE, tags_of
from tiny_teachers import write_tiny_teacher

import eicompress
from eicompress import cli
from eicompress.answers import IntentAndSlotsPrediction
from eicompress.values import Artifact


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    Path("space.toml").write_text(SPACE)


def write_rows(folder: Path) -> Path:
    folder.mkdir()
    for split, endings in ENDINGS.items():
        named = [
            (text + ending, label)
            for ending in endings
            for label, of in (("music", MUSIC), ("weather", WEATHER))
            for text in of
        ]
        rows = [{"tokens": text.split(), "tags": tags_of(text), "label": label} for text, label in named]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.mark.slow
def test_intents_and_slots_go_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = write_rows(tmp_path / "both"), write_tiny_teacher(tmp_path / "model", "Bert")
    words = ["--model", str(model), "--data", str(data), "--budget", "40KB", "--space", "space.toml", "--workers", "0"]
    assert cli.run(["search", *words, "--trials", "3", "--teacher-training", "probe"]) == 0
    captured = capsys.readouterr()
    printed = captured.out + captured.err
    for expected in ("so the task is `intent_and_slots`", "classifier of texts and words", "majority intent and most"):
        assert expected in printed
    result = eicompress.show("both")
    assert result.best is not None
    best = result.best[1]
    assert best.value("quality_test") is not None and best.facts["parity"]["agreement"] >= 0.995
    folder = Path(best.files["artifact"])
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"] and config["intents"] == 2

    assert cli.run(["predict", str(folder), "play the music", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    (found,) = eicompress.load(folder).predict(["play the music"])
    assert isinstance(found, IntentAndSlotsPrediction) and found.label == said["label"]
    assert [vars(each) for each in found.entities] == said["entities"]
    assert cli.run(["predict", str(folder), "play the music"]) == 0
    assert capsys.readouterr().out.split()[0] == found.label

    measured = {each.name: each for each in eicompress.measure(folder, data=str(data), seq_len=8)}
    assert measured["quality_test"].value == pytest.approx(best.value("quality_test"), abs=1e-6)
    assert measured["quality_test"].conditions["metric"] == "sentence_accuracy"
    assert {"intent_accuracy_test", "slot_f1_test"} <= measured.keys()
    comparison = eicompress.compare([folder, folder], data=str(data), output=tmp_path / "c.html")
    (other,) = comparison.others
    assert other.difference.mean == other.difference.low == 0.0

    page = (tmp_path / "studies" / "both" / "report.html").read_text(encoding="utf-8")
    assert "Kinds of mistakes" in page and "Precision and recall by type" in page
    card = Artifact(folder).card.read_text(encoding="utf-8")
    assert "sentence_accuracy, test split" in card and "## Intents" in card and "## Slots" in card

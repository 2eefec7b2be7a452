"""Another quality than the accuracy, from the command line to the card."""

import json
from pathlib import Path

import pytest
from conftest import MUSIC, WEATHER
from tiny_teachers import write_tiny_teacher

import eicompress
from eicompress import cli
from eicompress.values import Artifact

SPACE = '[[slot]]\nstrategy = "quantization"\n\n[[slot]]\nstrategy = "distillation"\nepochs = 4.0\ndistortions = 1\n'
ENDINGS = {"train": ("", " today", " will", " the"), "validation": (" sun",), "test": (" song",)}


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    Path("space.toml").write_text(SPACE)


def write_rows(folder: Path) -> Path:
    folder.mkdir()
    for split, endings in ENDINGS.items():
        rows = [
            {"text": text + ending, "label": label}
            for ending in endings
            for texts, label in ((MUSIC, "music"), (WEATHER, "weather"))
            for text in texts
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.mark.slow
def test_texts_that_belong_to_no_label_are_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = write_rows(tmp_path / "rows"), write_tiny_teacher(tmp_path / "model", "Bert")
    outside = ("stop it", "will it stop", "the north", "a sun")
    for split in ("validation", "test"):
        rows = [json.dumps({"text": f"{text} {split[0]}"}) for text in outside]
        (data / f"oos_{split}.jsonl").write_text("\n".join(rows))
    words = ["--model", str(model), "--data", str(data), "--budget", "40KB", "--space", "space.toml", "--workers", "0"]
    assert cli.run(["search", *words, "--trials", "1", "--teacher-training", "probe"]) == 0
    assert "4 in `oos_validation.jsonl` and 4 in `oos_test.jsonl`" in capsys.readouterr().out
    (record,) = eicompress.show("rows").promoted.values()
    artifact = Artifact(Path(record.files["artifact"]))
    threshold = json.loads((artifact.folder / "config.json").read_text())["reject_below"]
    assert threshold > 0.0 and record.value("size_mb") == artifact.size_mb

    loaded = eicompress.load(artifact.folder)
    assert loaded.checked
    texts = [f"{text} t" for text in outside]
    plain, found = loaded.predict(texts), loaded.predict(texts, reject=True)
    assert [each.label is None for each in found] == [each.confidence < threshold for each in plain]
    measured = {each.name: each.value for each in eicompress.measure(artifact.folder, data=str(data), seq_len=8)}
    assert measured["out_of_scope_recall_test"] == sum(each.label is None for each in found) / 4
    assert measured["auroc_test"] == record.value("auroc_test")
    assert {"auroc", "in_scope_accuracy", "out_of_scope_recall"} <= {each.name for each in record.measurements}
    assert measured["in_scope_accuracy_test"] <= measured["quality_test"]

    page = (tmp_path / "studies" / "rows" / "report.html").read_text(encoding="utf-8")
    assert "auroc " in page and "in_scope_accuracy" in page
    assert "reject_below" in artifact.card.read_text(encoding="utf-8")
    assert cli.run(["predict", str(artifact.folder), "--reject", "--json", *texts]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["label"] for line in lines] == [each.label for each in found]
    assert cli.run(["predict", str(artifact.folder), "--reject", "--top", "2", "a song"]) == 2


@pytest.mark.slow
def test_macro_f1_is_maximised_and_shown_under_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = write_rows(tmp_path / "rows"), write_tiny_teacher(tmp_path / "model", "Bert")
    words = ["--model", str(model), "--data", str(data), "--budget", "40KB", "--space", "space.toml", "--workers", "0"]
    words += ["--quality", "macro_f1", "--teacher-training", "probe"]
    assert cli.run(["plan", *words]) == 0
    printed = capsys.readouterr().out
    assert "quality (macro_f1)" in printed and "baseline: " in printed and "· macro_f1 0." in printed
    assert cli.run(["search", *words, "--trials", "1"]) == 0
    assert "· macro_f1 0." in capsys.readouterr().out
    result = eicompress.show("rows")
    assert result.baseline is not None
    (record,) = result.promoted.values()
    quality = {each.name: each for each in record.measurements}["quality_test"]
    assert quality.conditions["metric"] == "macro_f1" and record.value("accuracy_test") is not None
    assert cli.run(["show", "rows"]) == 0
    assert "macro_f1" in capsys.readouterr().out.splitlines()[1]

    folder = Path(record.files["artifact"])
    measured = {each.name: each for each in eicompress.measure(folder, data=str(data), seq_len=8, quality="macro_f1")}
    assert measured["quality_test"].value == pytest.approx(quality.value, abs=1e-6)
    assert measured["quality_test"].conditions["metric"] == "macro_f1" and "accuracy_test" in measured
    found = eicompress.compare([folder, folder], data=str(data), quality="macro_f1", output=tmp_path / "c.html")
    assert found.metric == "macro_f1" and found.others[0].p_value is None
    assert found.first.quality == quality.value
    page = (tmp_path / "studies" / "rows" / "report.html").read_text(encoding="utf-8")
    assert "macro_f1, test" in page and "Macro F1 is" in page
    assert "macro_f1, test split" in Artifact(folder).card.read_text(encoding="utf-8")


def test_a_quality_that_the_task_lacks_ends_a_search_with_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = write_rows(tmp_path / "rows"), write_tiny_teacher(tmp_path / "model", "Bert")
    words = ["--model", str(model), "--data", str(data), "--budget", "40KB", "--workers", "0", "--trials", "1"]
    assert cli.run(["search", *words, "--quality", "f1"]) == 2
    (said,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error"))
    assert "`--quality` must be one of `accuracy`, `macro_f1`" in said

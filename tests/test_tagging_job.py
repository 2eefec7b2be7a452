"""Tags of words, from the command line to the card."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from conftest import MUSIC, WEATHER, tiny_candidate, tiny_tokenizer
from tiny_teachers import write_tiny_teacher

import eicompress
from eicompress import cli, runtime
from eicompress.answers import TagPrediction, Tags
from eicompress.encoder.heads import answer_words
from eicompress.encoder.tokens import tokenize
from eicompress.errors import ModelError
from eicompress.export import folder as artifacts
from eicompress.export.parity import check_parity, logits_of
from eicompress.plugins import discover
from eicompress.spec import read
from eicompress.training.foreign_teacher import open_pretrained
from eicompress.training.teacher import answers_of, ignore
from eicompress.trials.adjusting import adjusted
from eicompress.trials.builder import Builder, open_builder
from eicompress.values import ADJUSTMENT, Artifact

SPACE = """
[[slot]]
strategy = "layer_pruning"
count = { low = 1, high = 2 }

[[slot]]
strategy = "vocabulary_pruning"
num_tokens = 100

[[slot]]
strategy = "quantization"
layer_bits = { choices = [4, 8] }

[[slot]]
strategy = "distillation"
epochs = 8.0
distortions = 1
logits = { choices = ["kl", "mse"] }
"""
ENDINGS = {"train": ("", " today", " will", " the"), "validation": (" sun",), "test": (" song",)}
TYPES = {"song": "thing", "music": "thing", "weather": "sky", "rain": "sky", "sun": "sky"}
TAGS = ("O", "B-sky", "B-thing", "I-sky", "I-thing")
OTHER_ORDER = ("B-thing", "O", "I-sky", "I-thing", "B-sky")


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    for module in ("eicompress.trials.measuring", "eicompress.metrics.latency"):
        monkeypatch.setattr(f"{module}.CAREFUL_SECONDS", 0.01)
        monkeypatch.setattr(f"{module}.QUICK_SECONDS", 0.01)
    Path("space.toml").write_text(SPACE)


def tags_of(text: str) -> list[str]:
    """The names of things, with `the` before them."""
    words = text.split()
    tags = [f"B-{TYPES[word]}" if word in TYPES else "O" for word in words]
    for at, tag in enumerate(tags[1:], start=1):
        if tag != "O" and words[at - 1] == "the":
            tags[at - 1 : at + 1] = [tag, "I" + tag[1:]]
    return tags


def write_tags(folder: Path) -> Path:
    folder.mkdir()
    for split, endings in ENDINGS.items():
        texts = [text + ending for ending in endings for text in (*MUSIC, *WEATHER)]
        lines = [json.dumps({"tokens": text.split(), "tags": tags_of(text)}) for text in texts]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.slow
def test_tags_go_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = write_tags(tmp_path / "things"), write_tiny_teacher(tmp_path / "model", "Bert")
    words = ["--model", str(model), "--data", str(data), "--budget", "40KB", "--space", "space.toml", "--workers", "0"]
    assert cli.run(["search", *words, "--trials", "3", "--teacher-training", "probe"]) == 0
    captured = capsys.readouterr()
    printed = captured.out + captured.err
    for expected in ("so the task is `token_classification`", "linear token classifier", "most frequent tag of a word"):
        assert expected in printed
    result = eicompress.show("things")
    assert result.best is not None
    best = result.best[1]
    assert best.value("quality_test") is not None and best.facts["parity"]["agreement"] >= 0.995
    folder = Path(best.files["artifact"])
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert config["pipeline_tag"] == "token-classification"

    assert cli.run(["predict", str(folder), "play the music", "--json"]) == 0
    entities = json.loads(capsys.readouterr().out)["entities"]
    assert all(each["text"] == "play the music"[each["start"] : each["end"]] for each in entities)
    (found,) = eicompress.load(folder).predict(["play the music"])
    assert isinstance(found, TagPrediction) and [vars(each) for each in found.entities] == entities
    assert cli.run(["predict", str(folder), "play the music", "--top", "2"]) != 0
    assert "this one is a tagger" in capsys.readouterr().err

    measured = {each.name: each for each in eicompress.measure(folder, data=str(data), seq_len=8)}
    assert measured["quality_test"].value == pytest.approx(best.value("quality_test"), abs=1e-6)
    assert measured["quality_test"].conditions["metric"] == "entity_f1"
    comparison = eicompress.compare([folder, folder], data=str(data), output=tmp_path / "c.html")
    (other,) = comparison.others
    assert other.difference.mean == other.difference.low == 0.0 and other.p_value is None

    page = (tmp_path / "studies" / "things" / "report.html").read_text(encoding="utf-8")
    assert "Kinds of mistakes" in page and "Precision and recall by type" in page and "Most confused" not in page
    card = Artifact(folder).card.read_text(encoding="utf-8")
    assert "A text tagger" in card and "entity_f1, test split" in card and "## Entities" in card
    assert "pipeline_tag: token-classification" in card


def test_candidates_and_baseline_are_adjusted_to_the_best_quality_on_validation(tmp_path: Path) -> None:
    folder = write_tagger(tmp_path / "model", tags=OTHER_ORDER)
    builder = opened(folder, write_tags(tmp_path / "things"))
    source, examples = builder.source, builder.examples["validation"]
    logits = logits_of(source, examples.texts, builder.task.answer)[0]
    found = adjusted(source, builder.task, examples)
    (by,) = found.facts[ADJUSTMENT].values()
    now = logits_of(found, examples.texts, builder.task.answer)[0]
    read_words = logits.any(axis=-1)
    assert np.abs((now - logits)[read_words] - [by, 0, 0, 0, 0]).max() < 1e-4
    before, after = (builder.task.score(each, examples.targets) for each in (logits, now))
    assert after > before and after == pytest.approx(builder.task.best_score(logits, examples.targets))
    # The model itself stays as it is.
    assert (logits_of(source, examples.texts, builder.task.answer)[0] == logits).all()
    assert builder.baseline().value("quality") == pytest.approx(after)


def write_tagger(folder: Path, kind: str = "Bert", tags: tuple[str, ...] = TAGS) -> Path:
    return write_tiny_teacher(folder, kind, tags, "TokenClassification")


def by_transformers(folder: Path, kind: str, texts: list[str]) -> list[np.ndarray]:
    """Logits of the first piece of each word between spaces."""
    model = getattr(transformers, f"{kind}ForTokenClassification").from_pretrained(folder).eval()
    found = []
    for text in texts:
        encoded = tiny_tokenizer().encode(text.split(), is_pretokenized=True)
        first = [encoded.word_ids.index(number) for number in range(len(text.split()))]
        with torch.inference_mode():
            found.append(model(torch.tensor([encoded.ids])).logits[0, first].numpy())
    return found


def opened(model: Path, data: Path, **more: object) -> Builder:
    spec = read({"model": str(model), "data": str(data), **more})
    return open_builder(spec, discover(), folder=Path("work"), progress=ignore)


def test_a_token_classifier_is_the_baseline_but_for_how_often_it_answers_o(tmp_path: Path) -> None:
    folder = write_tagger(tmp_path / "model", tags=OTHER_ORDER)
    builder = opened(folder, write_tags(tmp_path / "things"))
    assert builder.head is None, "it needs no training first"
    texts = [str(text) for text in builder.examples["validation"].texts]
    record = builder.baseline()
    model, (by,) = runtime.load(record.files["artifact"]), record.facts[ADJUSTMENT].values()
    for row, wanted in zip(model.logits(texts), by_transformers(folder, "Bert", texts), strict=True):
        apart = row[: len(wanted)] - wanted[:, [1, 4, 0, 2, 3]]
        assert np.abs(apart[:, 1:]).max() < 1e-4 and apart[:, 0] == pytest.approx(by, abs=1e-4)
        assert not row[len(wanted) :].any()


@pytest.mark.parametrize("kind", ["Bert", "DebertaV2", "XLNet"])
def test_any_token_classifier_teaches_word_by_word(tmp_path: Path, kind: str) -> None:
    folder, texts = write_tagger(tmp_path / "model", kind), ["zoo song", "stop the song today", "it"]
    logits, states = open_pretrained(folder, Tags(TAGS), "cpu").answers(texts, lambda _: None)
    assert logits.shape == (3, 4, 5) and states.shape == (3, 0)
    for row, wanted in zip(logits, by_transformers(folder, kind, texts), strict=True):
        assert row[: len(wanted)] == pytest.approx(wanted, abs=0.06), "also where padding stands on the left, in XLNet"
    with pytest.raises(ModelError, match="must be a token classifier, but"):
        open_pretrained(write_tiny_teacher(tmp_path / "labels", "Bert"), Tags(TAGS), "cpu")
    with pytest.raises(ModelError, match="must tag words with the data's tags"):
        open_pretrained(folder, Tags((*TAGS, "B-else")), "cpu")


def test_words_that_are_cut_off_have_no_logits_and_the_file_says_so_too(tmp_path: Path) -> None:
    candidate = tiny_candidate(outputs=5)
    answer_words(candidate.encoder)
    candidate.tokenizer.enable_truncation(8)
    texts = ["xylophone song", "play the song", "the xy , song rain sun weather today what"]
    tokens = tokenize(candidate.tokenizer, texts, reads="words")
    assert tokens.words is not None
    assert tokens.words.tolist() == [[1, -1, -1, -1, -1], [1, 2, 3, -1, -1], [1, 2, 4, 5, 6]]
    logits, states = answers_of(candidate, texts, "cpu")
    assert logits.shape == (3, 5, 5) and states.shape == (3, 5, 24) and not logits[0, 1:].any()
    artifact = artifacts.write(candidate, Tags(TAGS), tmp_path / "artifact", pairs=False, manifest={})
    model = runtime.load(artifact.folder)
    found = model.logits(texts)
    assert found.shape == (3, 9, 5) and not found[0, 1:].any() and found[2, 4].any() and not found[2, 5:].any()
    assert check_parity(candidate, texts, found, Tags(TAGS)).agreement == 1.0
    (output,) = onnxruntime.InferenceSession(artifact.onnx).get_outputs()
    assert output.shape == ["batch", "sequence", 5]

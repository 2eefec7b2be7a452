"""Questions with their contexts, from the command line to the card."""

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
from eicompress.answers import AnswerSpan, SpanPrediction
from eicompress.answers.words import words_of
from eicompress.encoder.heads import answer_words
from eicompress.errors import ModelError
from eicompress.export import folder as artifacts
from eicompress.export.parity import check_parity
from eicompress.plugins import discover
from eicompress.spec import read
from eicompress.training.foreign_teacher import open_pretrained
from eicompress.training.teacher import answers_of, ignore
from eicompress.trials.builder import open_builder
from eicompress.values import Artifact

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
epochs = 1.0
distortions = 1
logits = { choices = ["kl", "mse"] }
"""
LONG = ", ".join((*MUSIC, *WEATHER))


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    Path("space.toml").write_text(SPACE)


def write_questions(folder: Path, *, silent: bool = False) -> Path:
    """What comes behind `the`, in contexts of which some are longer than a window; some without an answer."""
    folder.mkdir()
    for split, endings in {"train": ("", " today", " will"), "validation": (" sun",), "test": (" rain",)}.items():
        rows = []
        for text in (*MUSIC, *WEATHER):
            for ending in endings:
                context = f"{text}{ending}, {LONG}" if " the " in text else f"{text}{ending}"
                at = context.find("the ") + 4
                word = context[at:].split()[0].rstrip(",") if at > 3 else context.split()[0]
                found = {"text": [word], "answer_start": [max(0, context.find(word) if at <= 3 else at)]}
                if silent and at <= 3:
                    found = {"text": [], "answer_start": []}
                rows.append({"question": f"what is the{ending}", "context": context, "answers": found})
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.mark.slow
def test_questions_go_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = write_questions(tmp_path / "questions", silent=True), write_tiny_teacher(tmp_path / "model", "Bert")
    words = ["--model", str(model), "--data", str(data), "--budget", "40KB", "--space", "space.toml", "--workers", "0"]
    assert cli.run(["search", *words, "--trials", "1", "--teacher-training", "finetune"]) == 0
    captured = capsys.readouterr()
    printed = captured.out + captured.err
    assert "so the task is `question_answering`" in printed and "words nearest to the question's" in printed
    result = eicompress.show("questions")
    assert result.best is not None
    best = result.best[1]
    assert best.value("quality_test") is not None and best.facts["parity"]["agreement"] >= 0.995
    folder = Path(best.files["artifact"])
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertForQuestionAnswering"]
    assert config["pipeline_tag"] == "question-answering" and 0 < config["no_answer_above"] < 1
    outputs = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx").get_outputs()
    assert [(each.name, each.shape) for each in outputs] == [
        ("start_logits", ["batch", "sequence"]),
        ("end_logits", ["batch", "sequence"]),
    ]

    assert cli.run(["predict", str(folder), f"what is the\t{LONG}", "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert "is cut" not in captured.err, "a long context is read in windows"
    assert found["answer"] is None or found["answer"] == LONG[found["start"] : found["end"]]
    (again,) = eicompress.load(folder).predict([("what is the", LONG)], parallel=2)
    assert isinstance(again, SpanPrediction) and again.to_json().items() <= found.items()
    assert cli.run(["predict", str(folder), "what is the"]) == 2
    assert "must have a tab between" in capsys.readouterr().err

    measured = {each.name: each for each in eicompress.measure(folder, data=str(data), seq_len=8)}
    assert measured["quality_test"].value == pytest.approx(best.value("quality_test"), abs=1e-6)
    assert measured["quality_test"].conditions["metric"] == "f1"
    comparison = eicompress.compare([folder, folder], data=str(data))
    assert comparison.others[0].difference.mean == 0.0

    page = (tmp_path / "studies" / "questions" / "report.html").read_text(encoding="utf-8")
    assert "Kinds of mistakes" in page and "questions. The artifact answers" in page
    card = Artifact(folder).card.read_text(encoding="utf-8")
    assert "A text question answerer" in card and "f1, test split" in card and "## Answers" in card
    assert "pipeline_tag: question-answering" in card


@pytest.mark.slow
def test_a_teacher_is_trained_in_any_time_but_not_by_a_linear_classifier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = write_questions(tmp_path / "questions"), write_tiny_teacher(tmp_path / "model", "Bert")
    words = ["--model", str(model), "--data", str(data)]
    assert cli.run(["teach", *words, "--output", "answerer", "--timeout", "1s"]) == 0
    captured = capsys.readouterr()
    assert "one short training alone, with nothing held out" in captured.out + captured.err
    assert (tmp_path / "answerer" / "teacher.json").is_file()
    assert cli.run(["search", *words, "--budget", "1MB", "--teacher-training", "probe", "--trials", "1"]) == 2
    assert "of which all weights are trained: give teach or finetune" in capsys.readouterr().err


def write_answerer(folder: Path, kind: str = "Bert") -> Path:
    suffix = "QuestionAnsweringSimple" if kind == "XLNet" else "QuestionAnswering"
    return write_tiny_teacher(folder, kind, ("LABEL_0", "LABEL_1"), suffix)


def by_transformers(folder: Path, kind: str, question: str, context: str) -> np.ndarray:
    """(W, 2) logits of the first piece and the last piece of each word, of a context that fits."""
    name = f"{kind}ForQuestionAnswering{'Simple' if kind == 'XLNet' else ''}"
    model = getattr(transformers, name).from_pretrained(folder).eval()
    encoded = tiny_tokenizer().encode(question, context)
    inputs = {"input_ids": torch.tensor([encoded.ids])}
    if getattr(model.config, "type_vocab_size", 0) > 1 or kind == "XLNet":
        inputs["token_type_ids"] = torch.tensor([encoded.type_ids])
    with torch.inference_mode():
        output = model(**inputs)
    found = []
    for start, end in words_of(context):
        pieces = [
            at
            for at, (side, (first, last)) in enumerate(zip(encoded.sequence_ids, encoded.offsets, strict=True))
            if side == 1 and start <= first and last <= end
        ]
        found.append([output.start_logits[0, pieces[0]].item(), output.end_logits[0, pieces[-1]].item()])
    return np.array(found)


def test_a_question_answerer_is_the_baseline_as_it_is(tmp_path: Path) -> None:
    folder = write_answerer(tmp_path / "model")
    spec = read({"model": str(folder), "data": str(write_questions(tmp_path / "questions"))})
    builder = open_builder(spec, discover(), folder=Path("work"), progress=ignore)
    assert builder.head is None, "it needs no training first"
    model = runtime.load(builder.baseline().files["artifact"])
    (found,) = model.logits([("what is it", "xylophone, the song")])
    assert found[1:] == pytest.approx(by_transformers(folder, "Bert", "what is it", "xylophone, the song"), abs=1e-4)


@pytest.mark.parametrize("kind", ["Bert", pytest.param("DebertaV2", marks=pytest.mark.slow), "XLNet"])
def test_any_question_answerer_teaches_word_by_word(tmp_path: Path, kind: str) -> None:
    folder = write_answerer(tmp_path / "model", kind)
    texts = [("what is it", "zoo, the song"), ("what", LONG), ("is it", "it")]
    logits, states = open_pretrained(folder, AnswerSpan(), "cpu").answers(texts, lambda _: None)
    assert logits.shape == (3, 1 + len(words_of(LONG)), 2) and states.shape == (3, 0)
    for row in (0, 2):
        wanted = by_transformers(folder, kind, *texts[row])
        assert logits[row, 1 : 1 + len(wanted)] == pytest.approx(wanted, abs=0.06), "also with padding on the left"
        assert not logits[row, 1 + len(wanted) :].any()
    assert logits[1].all(axis=1).all(), "windows show every word"
    with pytest.raises(ModelError, match="must be a question answerer, but"):
        open_pretrained(write_tiny_teacher(tmp_path / "labels", "Bert"), AnswerSpan(), "cpu")


def test_the_file_answers_long_contexts_as_the_model_does(tmp_path: Path) -> None:
    candidate = tiny_candidate()
    answer_words(candidate.encoder)
    texts = [("what is it", LONG), ("stop", "xylophone"), (" ".join(MUSIC), LONG)]
    answer = AnswerSpan(0.5)
    artifact = artifacts.write(candidate, answer, tmp_path / "artifact", pairs=True, manifest={})
    model = runtime.load(artifact.folder)
    found = model.logits(texts)
    assert found.shape == (3, 1 + len(words_of(LONG)), 2)
    assert check_parity(candidate, texts, found, answer).largest_difference < 1e-4
    assert answers_of(candidate, texts, "cpu")[0] == pytest.approx(found, abs=0.06)
    assert not any(each.cut for each in model.lengths(texts))
    assert [len(each["input_ids"][0]) for each in model.feeds(texts[:1])] == [20], "latency is that of one window"

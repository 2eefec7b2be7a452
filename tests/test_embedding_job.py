"""Vectors instead of labels, from the command line to the card."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import MUSIC, WEATHER, tiny_candidate
from tiny_teachers import write_tiny_teacher

import eicompress
from eicompress import cli
from eicompress.answers import Vector, VectorPrediction
from eicompress.encoder.heads import answer_with_states
from eicompress.errors import DataError, ModelError
from eicompress.export.folder import write
from eicompress.plugins import discover
from eicompress.spec import read
from eicompress.testing.tiny import tiny_artifact
from eicompress.training.teacher import ignore
from eicompress.trials.builder import Builder, open_builder
from eicompress.values import Artifact

SPACE = """
[[slot]]
strategy = "thin_student"
layers = { low = 1, high = 2 }

[[slot]]
strategy = "quantization"
layer_bits = { choices = [4, 8] }

[[slot]]
strategy = "distillation"
epochs = 4.0
distortions = 1
"""
TEXTS = (*MUSIC, *WEATHER)
ENDINGS = {"train": ("", " today", " will", " the"), "validation": (" sun", " it"), "test": (" song",)}


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    Path("space.toml").write_text(SPACE)


def write_rows(folder: Path, kind: str) -> Path:
    """Rows of "pairs" with a score, or "texts" alone."""
    folder.mkdir()
    for split, endings in ENDINGS.items():
        texts = [text + ending for ending in endings for text in TEXTS]
        rows: list[dict[str, object]] = [{"text": text} for text in texts[:-1]]  # an odd number
        if kind == "pairs":
            rows.append({"text": texts[-1]})
            drawn = np.random.default_rng(0).permutation(len(texts))
            rows = [
                {**row, "text_pair": texts[other], "label": round(abs(at - other) / len(texts), 3)}
                for at, (row, other) in enumerate(zip(rows, drawn, strict=True))
            ]
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


def write_embedder(folder: Path, pooling: str = "mean") -> Path:
    """As sentence-transformers writes it."""
    write_tiny_teacher(folder, "Bert", ("LABEL_0", "LABEL_1"))
    transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).save_pretrained(folder)
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {"idx": at, "name": str(at), "path": "", "type": f"sentence_transformers.models.{kind}"}
        for at, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{each}_tokens": each == pooling for each in ("mean", "max")}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes | {"pooling_mode_cls_token": pooling == "cls"}))
    return folder


def opened(model: Path, data: Path, **more: object) -> Builder:
    spec = read({"model": str(model), "data": str(data), **more})
    return open_builder(spec, discover(), folder=Path("work"), progress=ignore)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_model_answers_its_pooled_state_at_length_one(tmp_path: Path, pooling: str) -> None:
    model, data = write_embedder(tmp_path / "model", pooling), write_rows(tmp_path / "data", "texts")
    builder = opened(model, data)
    assert builder.task.answer == Vector(16) and builder.task.name == "embedding" and not builder.task.pairs
    got = builder.teacher.outputs(TEXTS[:1]).logits.astype(np.float32)
    ids = torch.tensor([builder.source.tokenizer.encode(TEXTS[0]).ids])
    states = transformers.BertModel.from_pretrained(model).eval()(ids).last_hidden_state[0]
    wanted = states.mean(dim=0) if pooling == "mean" else states[0]
    assert got[0] == pytest.approx(
        (wanted / wanted.norm()).detach().numpy(), abs=1e-2
    )  # bfloat16 on processors that have it


def test_the_teacher_says_how_alike_texts_without_a_score_are(tmp_path: Path) -> None:
    builder = opened(write_embedder(tmp_path / "model"), write_rows(tmp_path / "data", "texts"))
    examples = builder.examples["validation"]
    vectors = builder.teacher.outputs(examples.texts).logits.astype(np.float32)
    assert np.isfinite(examples.targets).all() and np.isnan(builder.examples["train"].targets[:, 1]).all()
    for number in range(len(examples) // 2):
        one, other = np.flatnonzero(examples.targets[:, 0] == number)
        assert (
            examples.targets[one, 1]
            == examples.targets[other, 1]
            == pytest.approx(vectors[one] @ vectors[other], abs=1e-2)
        )
    assert builder.task.score(vectors, examples.targets) == pytest.approx(1.0)


def test_what_is_no_embedder_is_refused(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "texts")
    with pytest.raises(ModelError, match="mean or take the first, but says pooling_mode_max_tokens"):
        opened(write_embedder(tmp_path / "most", "max"), data)
    dense = write_embedder(tmp_path / "dense")
    (dense / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(ModelError, match="but names Dense"):
        opened(dense, data)
    with pytest.raises(ModelError, match="a vector of 16 dimensions, but answers one of 20"):
        opened(write_embedder(tmp_path / "model"), data, teacher=[str(write_wide(tmp_path / "wide"))])
    assert cli.run(["teach", "--model", str(tmp_path / "model"), "--data", str(data), "--output", "taught"]) == 2


def test_texts_are_cut_where_sentence_transformers_cuts_them(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "texts")
    whole, cut = (write_embedder(tmp_path / name) for name in ("whole", "cut"))
    (cut / "sentence_bert_config.json").write_text('{"max_seq_length": 8, "do_lower_case": false}')
    text = " ".join(TEXTS)
    lengths = [len(opened(each, data).source.tokenizer.encode(text).ids) for each in (whole, cut)]
    assert lengths == [20, 8]
    (cut / "sentence_bert_config.json").write_text('{"max_seq_length": "long"}')
    with pytest.raises(ModelError, match="must be a whole number of tokens, 8 or more, but is `long`"):
        opened(cut, data)


def write_wide(folder: Path) -> Path:
    write_embedder(folder)
    config = transformers.BertConfig(
        vocab_size=69,
        hidden_size=20,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=24,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_vectors_are_cut_and_rounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    candidate = tiny_candidate()
    answer_with_states(candidate.encoder)
    folder = str(write(candidate, Vector(24), tmp_path / "made", pairs=False, manifest={}).folder)

    def printed(*words: str) -> dict[str, Any]:
        assert cli.run(["predict", folder, *words, "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    whole = printed("will it rain")["vector"]
    cut = printed("will it rain", "--dimensions", "6")["vector"]
    assert cut == pytest.approx((np.array(whole[:6]) / np.linalg.norm(whole[:6])).tolist(), abs=1e-5)
    codes = printed("will it rain", "--int8")["vector"]
    assert max(map(abs, codes)) == 127 and all(isinstance(each, int) for each in codes)
    assert codes == pytest.approx((127 / np.abs(whole).max() * np.array(whole)).tolist(), abs=0.51)
    pair = "will it rain\tplay the song"
    exact, rounded = (printed("--similarity", pair, *more)["similarity"] for more in ([], ["--int8"]))
    assert exact != rounded == pytest.approx(exact, abs=0.01)
    for words, why in (
        (["--dimensions", "25"], "`--dimensions` must be a whole number from 1 to 24, but got `25`"),
        (["--reject"], "`--reject` must be asked of a model of labels"),
    ):
        assert cli.run(["predict", folder, "will it rain", *words]) == 2
        assert why in capsys.readouterr().err
    labels = str(tiny_artifact(tmp_path / "labels").folder)
    assert cli.run(["predict", labels, "will it rain", "--int8"]) == 2
    assert "`--int8` must be asked of a model of vectors" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pairs", "texts"])
def test_vectors_go_all_the_way(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = write_rows(tmp_path / kind, kind), write_embedder(tmp_path / "model")
    words = ["--model", str(model), "--data", str(data), "--budget", "60KB", "--space", "space.toml", "--workers", "0"]
    task = ["--task", "embedding"] if kind == "pairs" else []
    assert cli.run(["search", *words, *task, "--trials", "3"]) == 0
    printed = capsys.readouterr()
    assert ("so the task is `embedding`" in printed.out + printed.err) is (kind == "texts")
    result = eicompress.show(kind)
    assert result.best is not None and result.baseline is not None
    assert {"cosine of tf-idf", "static embeddings"} <= set(result.simple)
    best = result.best[1]
    assert best.value("quality_test") is not None and best.value("pearson") is not None
    folder = Path(best.files["artifact"])
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertModel"] and config["embedding_dimensions"] == 16

    assert cli.run(["predict", str(folder), "will it rain", "--json"]) == 0
    vector = json.loads(capsys.readouterr().out)["vector"]
    assert len(vector) == 16 and np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-4)
    assert cli.run(["predict", str(folder), "--similarity", "will it rain\twill it rain"]) == 0
    assert float(capsys.readouterr().out.split("\t")[0]) == pytest.approx(1.0, abs=1e-4)
    assert cli.run(["predict", str(folder), "--similarity", "will it rain"]) == 2
    assert "must have a tab between its two sides" in capsys.readouterr().err
    (found,) = eicompress.load(folder).predict(["will it rain"])
    assert isinstance(found, VectorPrediction) and found.vector == pytest.approx(vector)

    page = (tmp_path / "studies" / kind / "report.html").read_text(encoding="utf-8")
    assert "Pairs whose likeness is most wrong" in page and "Order of the cosines" in page
    card = Artifact(folder).card.read_text(encoding="utf-8")
    assert "A text embedder" in card and "pipeline_tag: feature-extraction" in card and "spearman, test split" in card
    if kind == "pairs":
        measured = {each.name: each for each in eicompress.measure(folder, data=str(data), seq_len=8)}
        assert measured["quality_test"].value == pytest.approx(best.value("quality_test"), abs=1e-6)
        comparison = eicompress.compare([folder, folder], data=str(data), output=tmp_path / "c.html")
        assert comparison.others[0].difference.mean == 0.0
    else:
        with pytest.raises(DataError, match="must have a score"):
            eicompress.measure(folder, data=str(data), seq_len=8)

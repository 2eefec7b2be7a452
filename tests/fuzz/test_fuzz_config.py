"""`config.json` and weights of models: those that are compressed, and those that only teach."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing import ends_well, fuzzed, mutated_bytes, mutated_json, mutated_tokenizer
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_teachers import write_tiny_teacher

from eicompress.answers import Labels
from eicompress.encoder import convert
from eicompress.encoder.tokens import tokenize
from eicompress.training.foreign_teacher import open_pretrained
from eicompress.values import Text

pytestmark = pytest.mark.slow

FAMILIES = ("Bert", "Roberta", "Electra", "DistilBert")
TEXTS: tuple[Text, ...] = ("play the song", "", "will it rain " * 40, "\ud800", ("stop", "it"))
WEIGHTS = (
    *("whole", "NaN", "infinite", "a layer less", "a layer more", "one less", "half", "integers", "transposed"),
    "fewer words",
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        write_tiny_teacher(folder / family, family)
    return folder


def _with_weights(folder: Path, kind: str, chosen: int) -> None:
    weights = load_file(folder / "model.safetensors")
    name = sorted(weights)[chosen % len(weights)]
    if kind == "NaN":
        weights[name].view(-1)[0] = float("nan")
    elif kind == "infinite":
        weights[name].view(-1)[0] = float("inf")
    elif kind == "a layer less":
        weights = {name: each for name, each in weights.items() if "layer.1." not in name}
    elif kind == "a layer more":
        more = {name.replace("layer.1.", "layer.2."): each.clone() for name, each in weights.items()}
        weights = {**more, **weights}
    elif kind == "one less":
        del weights[name]
    elif kind == "half":
        weights[name] = weights[name][: len(weights[name]) // 2].clone()
    elif kind == "integers":
        weights[name] = weights[name].to(torch.int8)
    elif kind == "transposed":
        weights[name] = weights[name].T.contiguous() if weights[name].ndim == 2 else weights[name]
    elif kind == "fewer words":
        name = next(each for each in weights if "word_embeddings" in each)
        weights[name] = weights[name][:40].clone()
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 40}))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _layers_of(folder: Path) -> int:
    """Of the weights."""
    names = load_file(folder / "model.safetensors")
    return len({found[1] for found in map(re.compile(r".*?layers?\.(\d+)\.").match, names) if found})


def _copied(models: Path, family: str, name: str) -> Path:
    folder = models / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(models / family, folder)
    return folder


def _changes(models: Path, data: st.DataObject) -> Path:
    folder = _copied(models, data.draw(st.sampled_from(FAMILIES)), "changed")
    if not data.draw(st.integers(0, 3)):
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(data.draw(mutated_tokenizer(tokenizer)), errors="surrogatepass")
    _with_weights(folder, data.draw(st.sampled_from(WEIGHTS)), data.draw(st.integers(0, 100)))
    config = json.loads((folder / "config.json").read_text())
    what = data.draw(st.sampled_from(("nothing", "names", "anything", "anything")))
    if what == "names":
        names = st.integers(0, 5).map(range) | st.sets(st.integers(0, 7))
        config["id2label"] = {str(number): f"label {number}" for number in data.draw(names)}
    text = data.draw(mutated_json(config)) if what == "anything" else json.dumps(config)
    (folder / "config.json").write_text(text, errors="surrogatepass")
    return folder


@fuzzed(100)
@given(st.data(), st.sampled_from((None, 0, 1, 2, 3, 7)))
def test_a_model_is_converted_and_reads_texts_or_is_refused(
    models: Path, data: st.DataObject, outputs: int | None
) -> None:
    folder = _changes(models, data)
    with ends_well():
        made = convert.load(folder, outputs)
        encoder = made.encoder
        assert outputs is None or outputs == encoder.config.outputs
        assert len(encoder.layers) == _layers_of(folder), "no layer of the weights is left out"
        for text in TEXTS[:3]:
            batch = tokenize(made.tokenizer, [text]).batch(np.arange(1), 0, "cpu")
            assert batch.logits(encoder).isfinite().all(), "logits must be numbers"
        if made.answer is not None:
            assert made.answer.outputs == encoder.config.outputs, "each output has a name"
            tokens = tokenize(made.tokenizer, TEXTS[2:3], reads=made.answer.reads)
            batch = tokens.batch(np.arange(1), 0, "cpu")
            made.answer.decode(batch.logits(encoder).detach().numpy(), TEXTS[2:3])


@fuzzed(15)
@given(st.data())
def test_a_teacher_answers_or_is_refused(models: Path, data: st.DataObject) -> None:
    folder = _changes(models, data)
    with ends_well():
        teacher = open_pretrained(folder, Labels(("music", "sports", "weather")), "cpu")
        logits, _ = teacher.answers(list(TEXTS[:3]), lambda _: None)
        assert torch.from_numpy(logits).isfinite().all(), "logits must be numbers"


@fuzzed(50)
@given(st.data())
def test_damaged_weights_are_refused(models: Path, data: st.DataObject) -> None:
    folder = _copied(models, "Bert", "damaged")
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    changed = data.draw(mutated_bytes(whole[:header]))
    assume(len(changed) >= 8)
    path.write_bytes(changed + whole[header:])
    with ends_well():
        convert.load(folder, 2)

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MUSIC, WEATHER, tiny_tokenizer
from safetensors.torch import load_file, save_file
from tiny_teachers import KINDS, write_tiny_teacher
from tokenizers import Tokenizer

from eicompress.answers import Labels
from eicompress.errors import ModelError
from eicompress.training.foreign_teacher import Pretrained, open_pretrained
from eicompress.values import Text

ANSWER = Labels(("music", "weather"))
TEXTS: list[Text] = [*MUSIC, *WEATHER, "stop " * 50]


def answers(teacher: Pretrained, texts: list[Text]) -> tuple[np.ndarray, np.ndarray]:
    return teacher.answers(texts, lambda _: None)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_the_models_own_text_by_text(kind: str, tmp_path: Path) -> None:
    """Against the model run by hand on one text at a time, without padding; the longest text is cut."""
    teacher = open_pretrained(write_tiny_teacher(tmp_path, kind), ANSWER, "cpu")
    logits, states = answers(teacher, TEXTS)
    assert logits.shape == (len(TEXTS), 2) and states.shape == (len(TEXTS), 16)
    assert logits.dtype == states.dtype == np.float16
    tokenizer = tiny_tokenizer()
    tokenizer.enable_truncation({"XLNet": 512, "Roberta": 23}.get(kind, 24))
    for row, text in enumerate(TEXTS):
        ids = torch.tensor([tokenizer.encode(str(text)).ids])
        with torch.inference_mode():
            (alone,) = teacher.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        # The products may be multiplied in bfloat16.
        assert np.allclose(logits[row], alone[[2, 0]], atol=0.05), text
    assert np.ptp(logits, axis=0).min() > 0.5


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "XLNet"])
def test_the_features_are_what_the_last_layer_makes_logits_of(kind: str, tmp_path: Path) -> None:
    teacher = open_pretrained(write_tiny_teacher(tmp_path, kind), ANSWER, "cpu")
    logits, states = answers(teacher, TEXTS)
    last = {"Bert": "classifier", "Roberta": "classifier.out_proj", "XLNet": "logits_proj"}[kind]
    layer = teacher.model.get_submodule(last)
    with torch.inference_mode():
        again = layer(torch.from_numpy(states.astype(np.float32)))[:, [2, 0]].numpy()
    assert np.allclose(again, logits, atol=0.1)


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "XLNet"])
def test_pairs_are_read_as_pairs(kind: str, tmp_path: Path) -> None:
    teacher = open_pretrained(write_tiny_teacher(tmp_path, kind), ANSWER, "cpu")
    pairs: list[Text] = [("play the song", "will it rain"), ("stop", "the weather today")]
    swapped: list[Text] = [(second, first) for first, second in pairs]
    assert not np.allclose(answers(teacher, pairs)[0], answers(teacher, swapped)[0], atol=0.02)


def test_labels_that_do_not_cover_the_tasks_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"1 of 2 are not there, such as `music`: did you mean `musik`"):
        open_pretrained(write_tiny_teacher(tmp_path, "Bert", ("weather", "musik")), ANSWER, "cpu")


def test_another_order_of_labels_is_another_teacher(tmp_path: Path) -> None:
    folder = write_tiny_teacher(tmp_path, "Bert")
    assert (
        open_pretrained(folder, ANSWER, "cpu").digest
        != open_pretrained(folder, Labels(ANSWER.labels[::-1]), "cpu").digest
    )


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_teacher(tmp_path, "Bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="Pickled weights"):
        open_pretrained(folder, ANSWER, "cpu")


def test_an_artifact_is_no_teacher(tmp_path: Path) -> None:
    folder = write_tiny_teacher(tmp_path, "Bert")
    (folder / "onnx").mkdir()
    (folder / "model.safetensors").rename(folder / "onnx" / "model.onnx")
    with pytest.raises(ModelError, match="is an ONNX file, such as an artifact has: give the model that it was made"):
        open_pretrained(folder, ANSWER, "cpu")


def test_code_in_the_folder_is_not_run(tmp_path: Path) -> None:
    folder = write_tiny_teacher(tmp_path, "Bert")
    config = (folder / "config.json").read_text()
    config = config.replace('"model_type": "bert"', '"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}')
    (folder / "config.json").write_text(config)
    (folder / "own.py").write_text("raise SystemExit('run')")
    with pytest.raises(ModelError, match="without code of its own"):
        open_pretrained(folder, ANSWER, "cpu")


def test_a_model_without_a_classifier_is_no_teacher(tmp_path: Path) -> None:
    folder = write_tiny_teacher(tmp_path, "Bert")
    config = (folder / "config.json").read_text().replace("BertForSequenceClassification", "BertModel")
    (folder / "config.json").write_text(config)
    with pytest.raises(ModelError, match=r"must be a sequence classifier, but .* is BertModel"):
        open_pretrained(folder, ANSWER, "cpu")


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"`.*none` is no folder"):
        open_pretrained(tmp_path / "none", ANSWER, "cpu")


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_teacher(tmp_path / "t", "Bert")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="must be finite, but are not"):
        open_pretrained(folder, ANSWER, "cpu").answers(["play"], lambda _: None)


def test_a_config_with_which_the_model_does_not_run_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_teacher(tmp_path / "teacher", "Bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "classifier_dropout": float("nan")}))
    with pytest.raises(
        ModelError, match=r"that `transformers` reads .*: dropout probability has to be between 0 and 1"
    ):
        open_pretrained(folder, ANSWER, "cpu").answers(["play the song"], lambda _: None)


def test_a_tokenizer_that_gives_up_is_one_message(tmp_path: Path) -> None:
    folder = write_tiny_teacher(tmp_path / "teacher", "Bert")
    file = folder / "tokenizer.json"
    pattern = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    file.write_text(json.dumps({**json.loads(file.read_text()), "pre_tokenizer": pattern}))
    with pytest.raises(ModelError, match=r"a model that `transformers` reads .*: .*retry-limit"):
        open_pretrained(folder, ANSWER, "cpu").answers(["a" * 40 + "b"], lambda _: None)


def test_tokens_without_a_word_vector_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_teacher(tmp_path / "t", "Bert")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["another"])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(ModelError, match="must be below 69, as many as the model has word vectors, but one is 69"):
        open_pretrained(folder, ANSWER, "cpu").answers(["another"], lambda _: None)

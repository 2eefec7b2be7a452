"""From a `transformers` model folder to an `Encoder`, weights, tokenizer and all.

Only `config.json`, `model.safetensors` and `tokenizer.json` are read; `transformers` itself is not needed.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from eicompress.answers import Answer, of_config
from eicompress.encoder.config import EncoderConfig
from eicompress.encoder.families import FAMILIES, REFUSED, Family
from eicompress.encoder.model import Encoder
from eicompress.encoder.raw_config import State
from eicompress.errors import ModelError, is_panic, shortened
from eicompress.values import Artifact, Json, parsed_json

_READ = ("config.json", "model.safetensors", "tokenizer.json")
_MUSTS: Mapping[str, str | bool] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
}
"""Settings of a config that the encoder cannot represent."""
_LAYER = re.compile(r"(?:encoder\.|transformer\.)?layers?\.(\d+)\.")
_PICKLES = ("pytorch_model.bin", "model.bin", "model.pt", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class ConvertedModel:
    """A model as its folder holds it, converted."""

    encoder: Encoder
    tokenizer: Tokenizer
    """Never pads, and truncates to what the model has positions for, or to less where its file says so."""
    answer: Answer | None
    """What the checkpoint's classifier answers; None where it had none that fits, and it is a new one."""
    digest: str
    """SHA-256 of the three files that were read, for cache keys."""


def load(folder: Path, outputs: int | None = None) -> ConvertedModel:
    """The model of a folder, in `eval` mode, single precision.

    `outputs` is the number of classes wanted: a classifier with another number is replaced by a new one. None
    asks for the checkpoint's own classifier. Raises `ModelError`.
    """
    _check_files(folder)
    raw = _read_json(folder / "config.json")
    family = _family(folder, raw)
    weights = _weights(folder / "model.safetensors", family.prefix)
    try:
        config, state = family.convert(raw, weights)
    except KeyError as error:
        raise ModelError(f"`{folder}` must be a whole model, but its config or weights lack {error}.") from error
    except (IndexError, RuntimeError) as error:  # what torch raises where shapes do not fit
        raise ModelError(
            f"The weights of `{folder}` must have a `{raw['model_type']}`'s shapes, but: {error}."
        ) from error
    _check_layers(folder, weights, len(config.layers))
    answer = _answer(folder, raw, config.outputs) if "classifier.weight" in state else None
    if answer is not None and answer.per_word and config.pooler_norm:
        answer = None  # a head of two layers for each token, which the encoder has not
    if outputs is None and answer is None:
        raise ModelError(
            f"`{folder}` must have a classifier of its own, but has none; say how many classes it is to have."
        )
    if outputs is not None and (answer is None or outputs != config.outputs):
        config, answer = _with_new_classifier(config, state, outputs), None
    if answer is not None and answer.per_word:
        config = replace(config, word_outputs=config.outputs, pooler=False)
        state = {name: weight for name, weight in state.items() if not name.startswith("pooler.")}
    return ConvertedModel(_encoder(config, state, folder), _tokenizer(folder, config), answer, digest(folder))


def digest(folder: Path) -> str:
    """SHA-256 of the files that make up a model. Raises `ModelError`."""
    _check_files(folder)
    sums = hashlib.sha256()
    for name in _READ:
        with (folder / name).open("rb") as file:
            sums.update(hashlib.file_digest(file, "sha256").digest())
    return sums.hexdigest()


def check_folder(folder: Path) -> None:
    """Raise `ModelError` where there is no folder."""
    if not folder.is_dir():
        raise ModelError(f"The model `{folder}` must be a folder, but there is none of this name.")


def check_not_artifact(folder: Path) -> None:
    """Raise `ModelError` where there is an ONNX file in place of weights."""
    if Artifact(folder).onnx.is_file() and not (folder / "model.safetensors").is_file():
        raise ModelError(
            f"`{folder}` must be a model as `save_pretrained` writes it, but is an ONNX file, such as an artifact has: "
            "give the model that it was made from."
        )


def _check_files(folder: Path) -> None:
    check_folder(folder)
    if not (folder / "config.json").is_file():
        raise ModelError(f"`{folder}` must hold a model, but has no `config.json`. Write it with `save_pretrained`.")
    check_not_artifact(folder)
    if not (folder / "model.safetensors").is_file():
        pickled = next((name for name in _PICKLES if (folder / name).is_file()), None)
        came = f"only `{pickled}`, which is pickle and may run any code when it is read" if pickled else "none"
        raise ModelError(
            f"`{folder}` must have its weights in `model.safetensors`, but has {came}. Convert what you "
            "trust: `AutoModelForSequenceClassification.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)`."
        )
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(
            f"`{folder}` must have a `tokenizer.json`, but has none. Write it with "
            "`AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)`."
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = parsed_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"`{path}` must be JSON, but is not: {error}.") from error
    if not isinstance(value, dict):
        raise ModelError(f"`{path}` must be a JSON object, but is a {type(value).__name__}.")
    return value


def _family(folder: Path, raw: Json) -> Family:
    """The architecture, if it can be converted and nothing in the config stands against it."""
    kind = str(raw.get("model_type"))
    if kind in REFUSED:
        raise ModelError(f"`{folder}` cannot be converted: {REFUSED[kind]}. It can teach another (`--teacher`).")
    if kind not in FAMILIES:
        known = ", ".join(f"`{each}`" for each in FAMILIES)
        raise ModelError(
            f"The architecture of `{folder}` must be one that can be converted ({known}), but is {shortened(kind)}."
        )
    for name, wanted in _MUSTS.items():
        if raw.get(name) not in (wanted, None):
            must = json.dumps(wanted) if isinstance(wanted, bool) else wanted
            raise ModelError(
                f"`{name}` in `{folder / 'config.json'}` must be `{must}`, but is {shortened(str(raw[name]))}."
            )
    return FAMILIES[kind]


def _weights(path: Path, prefix: str) -> dict[str, Tensor]:
    """All weights in single precision, by their names without the prefix of a model with a head."""
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"`{path}` must be a whole safetensors file, but cannot be read: {error}.") from error
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise ModelError(
                f"The weights in `{path}` must be finite, but `{name}` has NaN or infinity. Its training diverged, or "
                "the file is damaged: train it again, or copy it again."
            )
    names = {name: name.removeprefix(prefix) for name in weights}
    # Checkpoints made from TensorFlow's name the parameters of their norms as the paper does.
    names = {old: new.replace("LayerNorm.gamma", "LayerNorm.weight") for old, new in names.items()}
    names = {old: new.replace("LayerNorm.beta", "LayerNorm.bias") for old, new in names.items()}
    # The classifier of words' ends has a name of its own in all families.
    names = {old: new.replace("qa_outputs.", "classifier.") for old, new in names.items()}
    return {names[name]: weight.to(torch.float32, copy=True) for name, weight in weights.items()}


def _check_layers(folder: Path, weights: Mapping[str, Tensor], layers: int) -> None:
    numbers = [int(found[1]) for found in map(_LAYER.match, weights) if found]
    if max(numbers, default=-1) >= layers:
        raise ModelError(
            f"`{folder / 'config.json'}` must have all layers of the weights, which are {max(numbers) + 1}, but has "
            f"{layers}. Take the config that belongs to the weights."
        )


def _answer(folder: Path, raw: Json, outputs: int) -> Answer | None:
    """What the classifier answers; outputs that the config does not name are called as `transformers` calls them."""
    named = raw.get("id2label") or {str(number): f"LABEL_{number}" for number in range(outputs)}
    if not isinstance(named, dict) or {*named} != {*map(str, range(outputs))}:
        raise ModelError(
            f"`id2label` in `{folder / 'config.json'}` must name all outputs, 0 to {outputs - 1}, but is "
            f"{shortened(json.dumps(named))}. Name them, or leave it out."
        )
    said = {name: raw.get(name) for name in ("architectures", "problem_type")}
    return of_config({"id2label": named, **said})


def _with_new_classifier(config: EncoderConfig, state: State, outputs: int) -> EncoderConfig:
    """Put a small random classifier into the state: always the same one, as a source has no seed."""
    chance = torch.Generator().manual_seed(0)
    state["classifier.weight"] = torch.randn(outputs, config.hidden, generator=chance) * 0.02
    state["classifier.bias"] = torch.zeros(outputs)
    return replace(config, outputs=outputs)


def _encoder(config: EncoderConfig, state: State, folder: Path) -> Encoder:
    try:
        with torch.device("meta"):  # no memory is taken, and no random number, for weights that are replaced
            encoder = Encoder(config)
        encoder.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError) as error:  # a TypeError of sizes that no tensor can have
        why = str(error).partition("\nException raised from")[0]  # frames of C++ follow
        raise ModelError(f"The weights of `{folder}` must fit its `config.json`, but do not: {why}") from error
    return encoder.eval()


def _tokenizer(folder: Path, config: EncoderConfig) -> Tokenizer:
    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
        truncation = tokenizer.truncation or {}
        tokenizer.no_padding()
        tokenizer.no_truncation()
        around = [tokenizer.encode(*nothing).ids for nothing in (("",), ("", ""))]
    except BaseException as error:  # the library raises nothing narrower
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        raise ModelError(f"`{path}` must be a tokenizer that `tokenizers` reads, but is not: {error}.") from error
    last = max([*tokenizer.get_vocab().values(), *around[0], *around[1]], default=0)
    if last >= config.vocabulary:
        raise ModelError(
            f"The ids of `{path}` must be below {config.vocabulary}, as many as the model has word vectors, but one is "
            f"{last}. Take the tokenizer that the model was trained with, or resize its word vectors."
        )
    longest = min(config.positions, truncation.get("max_length", config.positions))
    if longest <= len(around[1]):
        raise ModelError(
            f"`{folder}` must read more tokens than the {len(around[1])} that `{path.name}` puts around texts, but "
            f"reads {longest}. Take the tokenizer that the model was trained with."
        )
    tokenizer.enable_truncation(longest)
    return tokenizer

"""From a `transformers` model folder to an `Encoder`, weights and all; one function a family.

Only `config.json`, `model.safetensors` and `tokenizer.json` are read; `transformers` itself is not needed.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from eicompress.encoder.config import EncoderConfig, LayerConfig
from eicompress.encoder.model import Encoder
from eicompress.errors import ModelError
from eicompress.values import Json

State: TypeAlias = dict[str, Tensor]
Family: TypeAlias = Callable[[Json, Mapping[str, Tensor]], tuple[EncoderConfig, State]]

_READ = ("config.json", "model.safetensors", "tokenizer.json")
_PICKLES = ("pytorch_model.bin", "model.bin", "model.pt", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class Source:
    """A model as its folder holds it, converted."""

    encoder: Encoder
    tokenizer: Tokenizer
    """Never pads, and truncates to what the model has positions for, or to less where its file says so."""
    labels: tuple[str, ...] | None
    """What the checkpoint's classifier answers; None where it had none that fits, and it is a new one."""
    digest: str
    """SHA-256 of the three files that were read, for cache keys."""


def load(folder: Path, outputs: int | None = None) -> Source:
    """The model of a folder, in `eval` mode, single precision.

    `outputs` is the number of classes wanted: a classifier with another number is replaced by a new one. None
    asks for the checkpoint's own classifier. Raises `ModelError`.
    """
    _check_files(folder)
    raw = _read_json(folder / "config.json")
    family = _family(folder, raw)
    try:
        config, state = family(raw, _weights(folder / "model.safetensors"))
    except KeyError as error:
        raise ModelError(f"`{folder}` must be a whole model, but its config or weights lack {error}.") from error
    labels = _labels(raw, config.outputs) if "classifier.weight" in state else None
    if outputs is None and labels is None:
        raise ModelError(
            f"`{folder}` must have a classifier of its own, but has none; say how many classes it is to have."
        )
    if outputs is not None and (labels is None or outputs != config.outputs):
        config, labels = _with_new_classifier(config, state, outputs), None
    return Source(_encoder(config, state, folder), _tokenizer(folder, config.positions), labels, digest(folder))


def digest(folder: Path) -> str:
    """SHA-256 of the files that make up a model. Raises `ModelError`."""
    _check_files(folder)
    sums = hashlib.sha256()
    for name in _READ:
        with (folder / name).open("rb") as file:
            sums.update(hashlib.file_digest(file, "sha256").digest())
    return sums.hexdigest()


def bert(raw: Json, weights: Mapping[str, Tensor]) -> tuple[EncoderConfig, State]:
    """BERT (arXiv 1810.04805), and MiniLM, which has its shapes; with or without pooler and classifier."""
    heads, hidden = raw["num_attention_heads"], raw["hidden_size"]
    layer = LayerConfig(heads, hidden // heads, raw["intermediate_size"])
    state = {new: weights[old] for old, new in _BERT_NAMES.items() if old in weights}
    for number in range(raw["num_hidden_layers"]):
        state |= _bert_layer(weights, f"encoder.layer.{number}.", f"layers.{number}.")
    config = EncoderConfig(
        vocabulary=raw["vocab_size"],
        embedding=hidden,
        hidden=hidden,
        layers=(layer,) * raw["num_hidden_layers"],
        positions=raw["max_position_embeddings"],
        outputs=len(state["classifier.bias"]) if "classifier.bias" in state else 0,
        token_types=raw["type_vocab_size"],
        pooler="pooler.weight" in state,
        activation=raw["hidden_act"],
        norm_eps=raw["layer_norm_eps"],
        padding_id=raw.get("pad_token_id") or 0,
    )
    return config, state


FAMILIES: Mapping[str, Family] = {"bert": bert}
"""What can be converted, by `model_type`."""

_BERT_NAMES = {
    "embeddings.word_embeddings.weight": "words.weight",
    "embeddings.position_embeddings.weight": "positions.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "embedding_norm.weight",
    "embeddings.LayerNorm.bias": "embedding_norm.bias",
    "pooler.dense.weight": "pooler.weight",
    "pooler.dense.bias": "pooler.bias",
    "classifier.weight": "classifier.weight",
    "classifier.bias": "classifier.bias",
}
_BERT_LAYER_NAMES = {
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "ffn.input",
    "output.dense": "ffn.output",
    "output.LayerNorm": "ffn_norm",
}


def _bert_layer(weights: Mapping[str, Tensor], old: str, new: str) -> State:
    state = {}
    for part in ("weight", "bias"):
        qkv = [weights[f"{old}attention.self.{each}.{part}"] for each in ("query", "key", "value")]
        state[f"{new}attention.qkv.{part}"] = torch.cat(qkv)
        for theirs, ours in _BERT_LAYER_NAMES.items():
            state[f"{new}{ours}.{part}"] = weights[f"{old}{theirs}.{part}"]
    return state


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelError(f"The model `{folder}` must be a folder, but there is none of this name.")
    if not (folder / "config.json").is_file():
        raise ModelError(f"`{folder}` must hold a model, but has no `config.json`. Write it with `save_pretrained`.")
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
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"`{path}` must be JSON, but is not: {error}.") from error
    if not isinstance(value, dict):
        raise ModelError(f"`{path}` must be a JSON object, but is a {type(value).__name__}.")
    return value


def _family(folder: Path, raw: Json) -> Family:
    """The function that converts this architecture, if nothing in the config stands against it."""
    kind = str(raw.get("model_type"))
    if kind not in FAMILIES:
        known = ", ".join(f"`{each}`" for each in FAMILIES)
        raise ModelError(
            f"The architecture of `{folder}` must be one that can be converted ({known}), but is `{kind}`."
        )
    musts: dict[str, tuple[Any, ...]] = {
        "hidden_act": ("gelu", "relu"),
        "position_embedding_type": ("absolute", None),
        "is_decoder": (False, None),
    }
    for name, allowed in musts.items():
        if raw.get(name) not in allowed:
            wanted = " or ".join(f"`{each}`" for each in allowed if each is not None)
            raise ModelError(f"`{name}` in `{folder / 'config.json'}` must be {wanted}, but is `{raw.get(name)}`.")
    return FAMILIES[kind]


def _weights(path: Path) -> dict[str, Tensor]:
    """All weights in single precision, by their names without the `bert.` of a model with a head."""
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"`{path}` must be a whole safetensors file, but cannot be read: {error}.") from error
    names = {name: name.removeprefix("bert.") for name in weights}
    # Checkpoints made from TensorFlow's name the parameters of their norms as the paper does.
    names = {old: new.replace("LayerNorm.gamma", "LayerNorm.weight") for old, new in names.items()}
    names = {old: new.replace("LayerNorm.beta", "LayerNorm.bias") for old, new in names.items()}
    return {names[name]: weight.to(torch.float32, copy=True) for name, weight in weights.items()}


def _labels(raw: Json, outputs: int) -> tuple[str, ...]:
    named = raw.get("id2label") or {}
    return tuple(str(named.get(str(number), f"LABEL_{number}")) for number in range(outputs))


def _with_new_classifier(config: EncoderConfig, state: State, outputs: int) -> EncoderConfig:
    """Put a small random classifier into the state: always the same one, as a source has no seed."""
    chance = torch.Generator().manual_seed(0)
    state["classifier.weight"] = torch.randn(outputs, config.hidden, generator=chance) * 0.02
    state["classifier.bias"] = torch.zeros(outputs)
    return EncoderConfig.from_json({**config.to_json(), "outputs": outputs})


def _encoder(config: EncoderConfig, state: State, folder: Path) -> Encoder:
    with torch.random.fork_rng(devices=[]):  # whoever seeded the generator finds it as it was
        encoder = Encoder(config)
    try:
        encoder.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ModelError(f"The weights of `{folder}` must fit its `config.json`, but do not: {error}") from error
    return encoder.eval()


def _tokenizer(folder: Path, positions: int) -> Tokenizer:
    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"`{path}` must be a tokenizer that `tokenizers` reads, but is not: {error}.") from error
    truncation = tokenizer.truncation or {}
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(positions, truncation.get("max_length", positions)))
    return tokenizer

"""Shapes of an encoder from the `config.json` of a `transformers` model, every value checked: `ModelError` where one is
not what it must be."""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import Tensor

from eicompress.encoder.config import Activation, EncoderConfig, LayerConfig
from eicompress.errors import ModelError, listed, shortened
from eicompress.values import Json

MOST_LAYERS = 1_000
"""More is an error in a config, and where layers share their weights, no weights stand against it."""

State: TypeAlias = dict[str, Tensor]
Weights: TypeAlias = Mapping[str, Tensor]


_ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}


def encoder_config(state: State, raw: Json, layers: tuple[LayerConfig, ...], **known: Any) -> EncoderConfig:
    """Shapes, of the weights and of the config."""
    vocabulary = whole_number(raw, "vocab_size")
    if padding_id(raw) >= vocabulary:
        raise ModelError(f"`pad_token_id` of a model must be below its `vocab_size`, {vocabulary}, but is not.")
    embedding = state["words.weight"].shape[1]
    values: dict[str, Any] = {
        "vocabulary": vocabulary,
        "embedding": embedding,
        "hidden": len(state["projection.weight"]) if "projection.weight" in state else embedding,
        "layers": layers,
        "positions": len(state["positions.weight"]) if "positions.weight" in state else 0,
        "outputs": len(state["classifier.bias"]) if "classifier.bias" in state else 0,
        "projection": "embeddings" if "projection.weight" in state else None,
        "token_types": len(state["token_types.weight"]) if "token_types.weight" in state else 0,
        "pooler": "pooler.weight" in state,
        "activation": raw.get("hidden_act"),
        "norm_eps": epsilon(raw),
        "padding_id": padding_id(raw),
    }
    values |= known
    return EncoderConfig(**{**values, "activation": activation_of(values["activation"])})


def activation_of(name: object) -> Activation:
    if str(name) not in _ACTIVATIONS:
        allowed, came = listed(_ACTIVATIONS), shortened(str(name))
        raise ModelError(f"The activation of a model must be one of {allowed}, but is {came}.")
    return _ACTIVATIONS[str(name)]


def layer_config(
    raw: Json, heads: str = "num_attention_heads", hidden: str = "hidden_size", ffn: str = "intermediate_size"
) -> LayerConfig:
    """The shapes of a layer, by the names that the config has for them."""
    count = whole_number(raw, heads)
    if whole_number(raw, hidden) % count:
        raise ModelError(f"`{hidden}` of a model must be a multiple of `{heads}`, {count}, but is {raw[hidden]}.")
    return LayerConfig(count, raw[hidden] // count, whole_number(raw, ffn))


def padding_id(raw: Json) -> int:
    return 0 if raw.get("pad_token_id") is None else whole_number(raw, "pad_token_id", least=0)


def layers_of(raw: Json, name: str) -> int:
    """A number of layers, or of groups of them."""
    count = whole_number(raw, name)
    if count > MOST_LAYERS:
        raise ModelError(f"`{name}` of a model must be at most {MOST_LAYERS}, but is larger.")
    return count


def whole_number(raw: Json, name: str, least: int = 1) -> int:
    value = raw[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ModelError(
            f"`{name}` of a model must be a whole number of at least {least}, but is {shortened(json.dumps(value))}: "
            "take the `config.json` that belongs to the weights."
        )
    return value


def epsilon(raw: Json, name: str = "layer_norm_eps", usual: float = 1e-12) -> float:
    value = raw.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ModelError(f"`{name}` of a model must be between 0 and 1, but is {shortened(json.dumps(value))}.")
    return value

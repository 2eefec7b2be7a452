"""From the weights of families with rotary positions and gated feed-forward blocks to those of an `Encoder`.

They lack many biases, which become zeros.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from eicompress.encoder.config import EncoderConfig, LayerConfig
from eicompress.encoder.raw_config import (
    State,
    Weights,
    activation_of,
    encoder_config,
    epsilon,
    layer_config,
    layers_of,
    whole_number,
)
from eicompress.errors import ModelError, shortened
from eicompress.values import Json

_MODERNBERT = {
    "embeddings.norm": "embedding_norm",
    "final_norm": "final_norm",
    "head.dense": "pooler",
    "head.norm": "pooler_norm",
    "classifier": "classifier",
}
_MODERNBERT_LAYER = {
    "attn_norm": "attention_norm",
    "attn.Wqkv": "attention.qkv",
    "attn.Wo": "attention.output",
    "mlp_norm": "ffn_norm",
    "mlp.Wi": "ffn.input",
    "mlp.Wo": "ffn.output",
}
_MODERNBERT_OPTIONAL = ("head.dense", "head.norm", "classifier", "layers.0.attn_norm")
_NOMIC_LAYER = {
    "attention.qkv": ("attn.Wqkv",),
    "attention.output": ("attn.out_proj",),
    "attention_norm": ("norm1",),
    "ffn.input": ("mlp.fc12", "mlp.fc11"),
    "ffn.output": ("mlp.fc2",),
    "ffn_norm": ("norm2",),
}
_GTE_LAYER = {
    "attention.qkv": ("attention.qkv_proj",),
    "attention.output": ("attention.o_proj",),
    "attention_norm": ("attn_ln",),
    "ffn.input": ("mlp.gate_proj", "mlp.up_proj"),
    "ffn.output": ("mlp.down_proj",),
    "ffn_norm": ("mlp_ln",),
}
_GLOBAL, _LOCAL = "full_attention", "sliding_attention"


def modernbert(raw: Json, weights: Weights) -> tuple[EncoderConfig, State]:
    """ModernBERT (arXiv 2412.13663): norms before the blocks, and local attention in most layers."""
    state = _modernbert_state(weights, layers_of(raw, "num_hidden_layers"))
    values = {
        "position_vectors": False,
        "positions": whole_number(raw, "max_position_embeddings"),
        "activation": raw.get("hidden_activation", "gelu"),
        "pooler_activation": activation_of(raw.get("classifier_activation", "gelu")),
        "pooler_norm": "pooler_norm.weight" in state,
        "pooling": "mean" if raw.get("classifier_pooling") == "mean" else "first",
        "norm_eps": epsilon(raw, "norm_eps", 1e-5),
        "gated": True,
        "norm_first": True,
    }
    return encoder_config(state, raw, _modernbert_layers(raw), **values), state


def _modernbert_state(weights: Weights, layers: int) -> State:
    names = dict(_MODERNBERT)
    for number in range(layers):
        names |= {f"layers.{number}.{theirs}": f"layers.{number}.{ours}" for theirs, ours in _MODERNBERT_LAYER.items()}
    state = {"words.weight": weights["embeddings.tok_embeddings.weight"]}
    for theirs, ours in names.items():
        if theirs not in _MODERNBERT_OPTIONAL or f"{theirs}.weight" in weights:
            state |= _with_bias(weights, ours, theirs)
    return state


def _with_bias(weights: Weights, ours: str, *theirs: str) -> State:
    """A module's weight and bias, of one module or of several whose outputs stand one after the other."""
    parts = [weights[f"{name}.weight"] for name in theirs]
    biases = [weights.get(f"{name}.bias", part.new_zeros(len(part))) for name, part in zip(theirs, parts, strict=True)]
    return {f"{ours}.weight": torch.cat(parts), f"{ours}.bias": torch.cat(biases)}


def _modernbert_layers(raw: Json) -> tuple[LayerConfig, ...]:
    """Every third layer reads all tokens unless the config names the layers' kinds; the first has no norm before it."""
    known = {"global_attn_every_n_layers": 3, "local_attention": 128, **raw}
    count, every = layers_of(raw, "num_hidden_layers"), whole_number(known, "global_attn_every_n_layers")
    kinds = raw.get("layer_types") or [_LOCAL if number % every else _GLOBAL for number in range(count)]
    if not isinstance(kinds, list) or len(kinds) != count or not {*map(str, kinds)} <= {_LOCAL, _GLOBAL}:
        raise ModelError(f"`layer_types` of a ModernBERT must be {count} times {_GLOBAL} or {_LOCAL}, but is not.")
    rotary = raw.get("rope_parameters") or {}
    whole = _rotary_layer(raw, rotary.get(_GLOBAL), raw.get("global_rope_theta", 160_000.0))
    local = _rotary_layer(raw, rotary.get(_LOCAL), raw.get("local_rope_theta", 10_000.0))
    local = replace(local, window=whole_number(known, "local_attention", least=2) // 2)
    layers = [local if kind == _LOCAL else whole for kind in kinds]
    return tuple(replace(each, attention_norm=number > 0) for number, each in enumerate(layers))


def nomic_bert(raw: Json, weights: Weights) -> tuple[EncoderConfig, State]:
    """NomicBERT (arXiv 2402.01613)."""
    return _norms_last(raw, weights, "emb_ln", "encoder.layers.", _NOMIC_LAYER, rotary_base=1_000.0)


def gte(raw: Json, weights: Weights) -> tuple[EncoderConfig, State]:
    """GTE with rotary positions (mGTE, arXiv 2407.19669)."""
    apart = dict(weights)
    for name, weight in weights.items():
        if name.endswith(".up_gate_proj.weight"):
            linear, activated = weight.chunk(2)
            apart |= {name.replace("up_gate", "up"): linear, name.replace("up_gate", "gate"): activated}
    return _norms_last(raw, apart, "embeddings.LayerNorm", "encoder.layer.", _GTE_LAYER, rotary_base=160_000.0)


def _norms_last(
    raw: Json, weights: Weights, norm: str, layers: str, names: Mapping[str, Sequence[str]], *, rotary_base: float
) -> tuple[EncoderConfig, State]:
    """BERT but for rotary positions and gates."""
    count = layers_of(raw, "num_hidden_layers")
    state = {"words.weight": weights["embeddings.word_embeddings.weight"]}
    types = weights.get("embeddings.token_type_embeddings.weight")
    if types is not None and len(types) == 1:
        state["words.weight"] = state["words.weight"] + types
    elif types is not None:
        state["token_types.weight"] = types
    state |= _with_bias(weights, "embedding_norm", norm)
    for number in range(count):
        for ours, theirs in names.items():
            state |= _with_bias(weights, f"layers.{number}.{ours}", *(f"{layers}{number}.{each}" for each in theirs))
    for head, ours in (("pooler.dense", "pooler"), ("classifier", "classifier")):
        if f"{head}.weight" in weights:
            state |= _with_bias(weights, ours, head)
    layer = _rotary_layer(raw, raw.get("rope_parameters"), rotary_base)
    positions = whole_number(raw, "max_position_embeddings")
    known = {"position_vectors": False, "positions": positions, "gated": True}
    return encoder_config(state, raw, (layer,) * count, **known), state


def _rotary_layer(raw: Json, rotary: Json | None, usual: float) -> LayerConfig:
    """A layer that rotates queries and keys as `rope_parameters` say, or by the usual base."""
    layer, rotary = layer_config(raw), rotary or {}
    scaled = rotary.get("rope_type", "default") != "default" or raw.get("rope_scaling")
    if scaled or rotary.get("partial_rotary_factor", 1.0) != 1.0:
        raise ModelError("Rotary positions of a model must be of the default kind, unscaled and of whole heads.")
    if layer.head_size % 2 or raw.get("head_dim", layer.head_size) not in (layer.head_size, None):
        raise ModelError(
            "The heads of a model with rotary positions must divide its width into even sizes, but do not: it has "
            f"{layer.heads} heads and a width of {raw['hidden_size']}."
        )
    base = rotary.get("rope_theta", usual)
    if isinstance(base, bool) or not isinstance(base, int | float) or not 1 < base < math.inf:
        raise ModelError(
            f"The base of a model's rotary positions must be a number above 1, but is {shortened(json.dumps(base))}."
        )
    return replace(layer, rotary_base=float(base))

"""From the weights of a ModernBERT to those of an `Encoder`."""

import json
import math
from dataclasses import replace

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
_GLOBAL, _LOCAL = "full_attention", "sliding_attention"


def modernbert(raw: Json, weights: Weights) -> tuple[EncoderConfig, State]:
    """ModernBERT (arXiv 2412.13663): rotary positions, gated feed-forward blocks, local attention in most layers.

    Biases that it lacks are zeros.
    """
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
        if theirs in _MODERNBERT_OPTIONAL and f"{theirs}.weight" not in weights:
            continue
        weight = weights[f"{theirs}.weight"]
        state[f"{ours}.weight"] = weight
        state[f"{ours}.bias"] = weights.get(f"{theirs}.bias", weight.new_zeros(len(weight)))
    return state


def _modernbert_layers(raw: Json) -> tuple[LayerConfig, ...]:
    """Every third layer reads all tokens unless the config names the layers' kinds; the first has no norm before it."""
    known = {"global_attn_every_n_layers": 3, "local_attention": 128, **raw}
    count, every = layers_of(raw, "num_hidden_layers"), whole_number(known, "global_attn_every_n_layers")
    kinds = raw.get("layer_types") or [_LOCAL if number % every else _GLOBAL for number in range(count)]
    if not isinstance(kinds, list) or len(kinds) != count or not {*map(str, kinds)} <= {_LOCAL, _GLOBAL}:
        raise ModelError(f"`layer_types` of a ModernBERT must be {count} times {_GLOBAL} or {_LOCAL}, but is not.")
    layer = layer_config(raw)
    if layer.head_size % 2:
        raise ModelError(f"The heads of a ModernBERT must have an even size, but have {layer.head_size}.")
    whole = replace(layer, rotary_base=_rotary_base(raw, _GLOBAL))
    local = replace(
        whole, rotary_base=_rotary_base(raw, _LOCAL), window=whole_number(known, "local_attention", least=2) // 2
    )
    layers = [local if kind == _LOCAL else whole for kind in kinds]
    return tuple(replace(each, attention_norm=number > 0) for number, each in enumerate(layers))


def _rotary_base(raw: Json, kind: str) -> float:
    """As newer configs or older ones say it."""
    newer = (raw.get("rope_parameters") or {}).get(kind) or {}
    if newer.get("rope_type", "default") != "default" or raw.get("rope_scaling"):
        raise ModelError("The rotary positions of a ModernBERT must be of the default kind, but are scaled.")
    name, usual = ("local_rope_theta", 10_000.0) if kind == _LOCAL else ("global_rope_theta", 160_000.0)
    base = newer.get("rope_theta", raw.get(name, usual))
    if isinstance(base, bool) or not isinstance(base, int | float) or not 1 < base < math.inf:
        raise ModelError(
            f"The base of a ModernBERT's rotary positions must be a number above 1, but is "
            f"{shortened(json.dumps(base))}."
        )
    return float(base)

"""From the weights of MobileBERT, and of the teacher that it was made with, to those of an `Encoder`.

`transformers` has weights that are never read: of the attention's own bottleneck where all of attention reads the
layer's, and of the embedding's map where it has nothing to do. They go.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch

from eicompress.encoder.config import BottleneckConfig, EncoderConfig, LayerConfig, NormKind
from eicompress.encoder.raw_config import State, Weights, encoder_config, layer_config, layers_of, whole_number
from eicompress.errors import ModelError, shortened
from eicompress.values import Json

_DEFAULTS = {
    "embedding_size": 128,
    "intra_bottleneck_size": 128,
    "num_feedforward_networks": 4,
    "normalization_type": "no_norm",
    "trigram_input": True,
    "use_bottleneck": True,
    "use_bottleneck_attention": False,
    "key_query_shared_bottleneck": True,
}
_NORMS: Mapping[str, NormKind] = {"no_norm": "no_norm", "layer_norm": "layer_norm"}
_TORCH_EPS = 1e-5
"""Of the norms of sums, to which `transformers` does not pass the config's."""
_LAYER = {
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention_norm",
    "bottleneck.input.dense": "bottleneck.input.linear",
    "bottleneck.input.LayerNorm": "bottleneck.input.norm",
    "output.bottleneck.dense": "bottleneck.output",
    "output.bottleneck.LayerNorm": "bottleneck.norm",
    "output.LayerNorm": "ffn_norm",
}
_NARROW = {
    "attention.self.value": "attention.value",
    "bottleneck.attention.dense": "attention.narrow.linear",
    "bottleneck.attention.LayerNorm": "attention.narrow.norm",
}


def mobilebert(raw: Json, weights: Weights) -> tuple[EncoderConfig, State]:
    """MobileBERT (arXiv 2004.02984), narrow or inverted, with each of its switches."""
    known = {**_DEFAULTS, **raw}
    layer = _layer_config(known)
    count = layers_of(raw, "num_hidden_layers")
    state = _embedding(known, weights)
    for number in range(count):
        for ours, theirs in _names(layer):
            for part in ("weight", "bias"):
                found = [weights[f"encoder.layer.{number}.{each}.{part}"] for each in theirs]
                state[f"layers.{number}.{ours}.{part}"] = torch.cat(found)
    for old, new in (("pooler.dense", "pooler"), ("classifier", "classifier")):
        if f"{old}.weight" in weights:
            state |= {f"{new}.{part}": weights[f"{old}.{part}"] for part in ("weight", "bias")}
    values: Json = {"norm": _norm(known), "sum_norm_eps": None if _norm(known) == "no_norm" else _TORCH_EPS}
    if "projection.weight" in state:
        values = {**values, "projection": "trigrams" if _flag(known, "trigram_input") else "words"}
    return encoder_config(state, raw, (layer,) * count, **values), state


def _layer_config(known: Json) -> LayerConfig:
    """Raises `ModelError` where queries and keys would read another width than they are made for."""
    blocks, hidden = layers_of(known, "num_feedforward_networks"), whole_number(known, "hidden_size")
    if not _flag(known, "use_bottleneck"):
        return replace(layer_config(known), ffn_blocks=blocks, ffn_norms=blocks > 1)
    width = whole_number(known, "intra_bottleneck_size")
    shared, narrow = (_flag(known, each) for each in ("use_bottleneck_attention", "key_query_shared_bottleneck"))
    if not shared and not narrow and width != hidden:
        raise ModelError(
            "`key_query_shared_bottleneck` or `use_bottleneck_attention` of a MobileBERT must be true where its "
            f"`intra_bottleneck_size`, {width}, is not its `hidden_size`, {hidden}, but both are false."
        )
    bottleneck = BottleneckConfig(width, "all" if shared else "query_key" if narrow else "none")
    layer = layer_config(known, hidden="intra_bottleneck_size")
    return replace(layer, ffn_blocks=blocks, ffn_norms=blocks > 1, bottleneck=bottleneck)


def _embedding(known: Json, weights: Weights) -> State:
    tables = {"words": "word", "positions": "position", "token_types": "token_type"}
    state = {f"{ours}.weight": weights[f"embeddings.{theirs}_embeddings.weight"] for ours, theirs in tables.items()}
    names = {"embedding_norm": "LayerNorm"}
    if _flag(known, "trigram_input") or known["embedding_size"] != known["hidden_size"]:
        names["projection"] = "embedding_transformation"
    for ours, theirs in names.items():
        state |= {f"{ours}.{part}": weights[f"embeddings.{theirs}.{part}"] for part in ("weight", "bias")}
    return state


def _names(layer: LayerConfig) -> Iterator[tuple[str, list[str]]]:
    """Our modules of a layer, and theirs, whose outputs stand one after the other."""
    read, inner = ["attention.self.query", "attention.self.key"], layer.bottleneck
    narrow = inner is not None and inner.attention == "query_key"
    yield "attention.qkv", read if narrow else [*read, "attention.self.value"]
    for theirs, ours in {**_LAYER, **(_NARROW if narrow else {})}.items():
        if inner is not None or not ours.startswith("bottleneck"):
            yield ours, [theirs]
    for place in range(layer.ffn_blocks):
        own = f"ffn.more.{place - 1}." if place else "ffn."
        theirs = f"ffn.{place}." if place < layer.ffn_blocks - 1 else ""
        yield f"{own}input", [f"{theirs}intermediate.dense"]
        yield f"{own}output", [f"{theirs}output.dense"]
        if theirs:
            yield f"ffn.norms.{place}", [f"{theirs}output.LayerNorm"]


def _norm(known: Json) -> NormKind:
    name = known["normalization_type"]
    if not isinstance(name, str) or name not in _NORMS:
        raise ModelError(
            f"`normalization_type` of a MobileBERT must be `no_norm` or `layer_norm`, but is "
            f"{shortened(json.dumps(name))}."
        )
    return _NORMS[name]


def _flag(known: Json, name: str) -> bool:
    value = known[name]
    if not isinstance(value, bool):
        raise ModelError(f"`{name}` of a MobileBERT must be true or false, but is {shortened(json.dumps(value))}.")
    return value

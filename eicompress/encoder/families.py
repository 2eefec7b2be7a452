"""From the weights of a `transformers` model to those of an `Encoder`: one function a family.

Each is given the raw `config.json` and the weights, their names without the family's own prefix (`roberta.`), and
returns the encoder's shapes and state. What a family has that an encoder has not is refused with a `ModelError`.

- Positions of RoBERTa and MPNet start behind the padding's number: the rows before it are never read and go.
- A single token type is the same for every token, so it is added to the positions, or to the words where a model has no
  vectors of positions.
- DistilBERT, ELECTRA, RoBERTa and MPNet bring the dense layer of their heads with them; it becomes the pooler.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from eicompress.encoder.config import Activation, ConvolutionConfig, EncoderConfig, LayerConfig
from eicompress.encoder.mobilebert import mobilebert
from eicompress.encoder.positions import BUCKETS
from eicompress.encoder.raw_config import (
    State,
    Weights,
    activation_of,
    encoder_config,
    layer_config,
    layers_of,
    padding_id,
    whole_number,
)
from eicompress.encoder.rotary_families import gte, modernbert, nomic_bert
from eicompress.errors import ModelError, shortened
from eicompress.values import Json


@dataclass(frozen=True)
class Family:
    """An architecture that can be converted."""

    prefix: str
    """Of the names of all weights but the head's, in a model with a head."""
    convert: Callable[[Json, Weights], tuple[EncoderConfig, State]]


def bert(raw: Json, weights: Weights) -> tuple[EncoderConfig, State]:
    """BERT (arXiv 1810.04805), and MiniLM, which has its shapes; with or without pooler and classifier."""
    return _bert_like(raw, weights, _renamed(weights, {"pooler.dense": "pooler", "classifier": "classifier"}))


def roberta(raw: Json, weights: Weights) -> tuple[EncoderConfig, State]:
    """RoBERTa (arXiv 1907.11692) and XLM-R (arXiv 1911.02116)."""
    return _bert_like(raw, weights, _dense_head(weights), first_position=padding_id(raw) + 1)


def mpnet(raw: Json, weights: Weights) -> tuple[EncoderConfig, State]:
    """MPNet (arXiv 2004.09297): every layer adds the same bias for distances to its attention."""
    if raw.get("relative_attention_num_buckets", BUCKETS) != BUCKETS:
        came = shortened(json.dumps(raw["relative_attention_num_buckets"]))
        raise ModelError(f"`relative_attention_num_buckets` of an MPNet must be {BUCKETS}, but is {came}.")
    config, state = _bert_like(raw, weights, _dense_head(weights), _MPNET_LAYER, first_position=_MPNET_PADDING + 1)
    bias = weights["encoder.relative_attention_bias.weight"].T[None].contiguous()
    state |= {f"layers.{number}.attention.position_bias.weight": bias for number in range(len(config.layers))}
    layers = tuple(replace(each, position_bias_of=0 if place else None) for place, each in enumerate(config.layers))
    return replace(config, layers=layers, position_bias=True), state


def electra(raw: Json, weights: Weights) -> tuple[EncoderConfig, State]:
    """ELECTRA's discriminator (arXiv 2003.10555)."""
    return _bert_like(raw, weights, _dense_head(weights), pooler_activation="gelu")


def convbert(raw: Json, weights: Weights) -> tuple[EncoderConfig, State]:
    """ConvBERT (arXiv 2008.02496): half of what a layer's attention says is a dynamic convolution's, and feed-forward
    matrices may be in groups.

    `transformers` lets the convolution read the vectors of padding; here a text has the same answer in any batch.
    """
    hidden, count, kernel = (whole_number(raw, each) for each in ("hidden_size", "num_attention_heads", _KERNEL))
    heads = max(1, count // whole_number(raw, "head_ratio"))
    if hidden % (2 * heads):
        raise ModelError(
            f"`hidden_size` of a ConvBERT must be a multiple of {2 * heads}, for {heads} heads and as many of the "
            f"convolution, but is {hidden}."
        )
    if kernel % 2 == 0:
        raise ModelError(f"`{_KERNEL}` of a ConvBERT must be an odd number, but is {kernel}.")
    groups, neurons = (whole_number(raw, each) for each in ("num_groups", "intermediate_size"))
    if hidden % groups or neurons % groups:
        raise ModelError(
            f"`num_groups` of a ConvBERT must divide its `hidden_size` and `intermediate_size`, {hidden} and "
            f"{neurons}, but is {groups}."
        )
    shape = LayerConfig(
        heads, hidden // heads // 2, neurons, ffn_groups=groups, convolution=ConvolutionConfig(heads, kernel)
    )
    state = _embeddings(weights, first_position=0) | _renamed(weights, {"embeddings_project": "projection"})
    state |= _dense_head(weights)
    layers = layers_of(raw, "num_hidden_layers")
    for number in range(layers):
        state |= _convbert_layer(weights, f"encoder.layer.{number}.", f"layers.{number}.", groups)
    return encoder_config(state, raw, (shape,) * layers, pooler_activation=activation_of(raw.get("hidden_act"))), state


def distilbert(raw: Json, weights: Weights) -> tuple[EncoderConfig, State]:
    """DistilBERT (arXiv 1910.01108)."""
    state = _embeddings(weights, first_position=0)
    count = layers_of(raw, "n_layers")
    for number in range(count):
        state |= _layer(weights, f"transformer.layer.{number}.", f"layers.{number}.", _DISTILBERT_LAYER)
    state |= _renamed(weights, {"pre_classifier": "pooler", "classifier": "classifier"})
    layer = layer_config(raw, "n_heads", "dim", "hidden_dim")
    config = encoder_config(state, raw, (layer,) * count, activation=raw["activation"], pooler_activation="relu")
    return config, state


def albert(raw: Json, weights: Weights) -> tuple[EncoderConfig, State]:
    """ALBERT (arXiv 1909.11942): layers in groups that share their weights, each used several times."""
    state = _embeddings(weights, first_position=0)
    state |= _renamed(
        weights,
        {"encoder.embedding_hidden_mapping_in": "projection", "pooler": "pooler", "classifier": "classifier"},
    )
    defaults = {"inner_group_num": 1, "num_hidden_groups": 1}
    known = defaults | {name: value for name, value in raw.items() if value is not None}
    count, groups, inner = (layers_of(known, each) for each in ("num_hidden_layers", *reversed(defaults)))
    first_use: dict[tuple[int, int], int] = {}
    layers: list[LayerConfig] = []
    for number in range(count):
        group = number * groups // count
        for each in range(inner):
            place = len(layers)
            first = first_use.setdefault((group, each), place)
            name = f"encoder.albert_layer_groups.{group}.albert_layers.{each}."
            state |= _layer(weights, name, f"layers.{place}.", _ALBERT_LAYER)
            shared = None if first == place else first
            layers.append(replace(layer_config(raw), attention_of=shared, ffn_of=shared, norms_of=shared))
    return encoder_config(state, raw, tuple(layers)), state


FAMILIES: Mapping[str, Family] = {
    "bert": Family("bert.", bert),
    "roberta": Family("roberta.", roberta),
    "xlm-roberta": Family("roberta.", roberta),
    "distilbert": Family("distilbert.", distilbert),
    "electra": Family("electra.", electra),
    "convbert": Family("convbert.", convbert),
    "albert": Family("albert.", albert),
    "mpnet": Family("mpnet.", mpnet),
    "mobilebert": Family("mobilebert.", mobilebert),
    "modernbert": Family("model.", modernbert),
    "nomic_bert": Family("nomic_bert.", nomic_bert),
    "gte": Family("gte.", gte),
}
"""What can be converted, by `model_type`."""

_RELATIVE = (
    "multiplies queries and keys by vectors of how far two tokens are apart, and an encoder has no part for that"
)
REFUSED: Mapping[str, str] = {
    "deberta": f"DeBERTa {_RELATIVE}",
    "deberta-v2": f"DeBERTa {_RELATIVE}",
    "xlnet": f"XLNet {_RELATIVE}",
}
"""Architectures that cannot be converted, with the reason."""

_BERT_LAYER = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "ffn.input",
    "output.dense": "ffn.output",
    "output.LayerNorm": "ffn_norm",
}
_MPNET_LAYER = {
    "attention.attn.q": "query",
    "attention.attn.k": "key",
    "attention.attn.v": "value",
    "attention.attn.o": "attention.output",
    "attention.LayerNorm": "attention_norm",
    "intermediate.dense": "ffn.input",
    "output.dense": "ffn.output",
    "output.LayerNorm": "ffn_norm",
}
_KERNEL = "conv_kernel_size"
_MPNET_PADDING = 1
"""Which token is padding where positions are counted, whatever the config says."""
_DISTILBERT_LAYER = {
    "attention.q_lin": "query",
    "attention.k_lin": "key",
    "attention.v_lin": "value",
    "attention.out_lin": "attention.output",
    "sa_layer_norm": "attention_norm",
    "ffn.lin1": "ffn.input",
    "ffn.lin2": "ffn.output",
    "output_layer_norm": "ffn_norm",
}
_ALBERT_LAYER = {
    "attention.query": "query",
    "attention.key": "key",
    "attention.value": "value",
    "attention.dense": "attention.output",
    "attention.LayerNorm": "attention_norm",
    "ffn": "ffn.input",
    "ffn_output": "ffn.output",
    "full_layer_layer_norm": "ffn_norm",
}


def _bert_like(
    raw: Json,
    weights: Weights,
    head: State,
    names: Mapping[str, str] = _BERT_LAYER,
    *,
    first_position: int = 0,
    pooler_activation: Activation = "tanh",
) -> tuple[EncoderConfig, State]:
    """BERT and what differs from it in embedding, head and the names of a layer's weights alone."""
    state = _embeddings(weights, first_position) | _renamed(weights, {"embeddings_project": "projection"}) | head
    count = layers_of(raw, "num_hidden_layers")
    for number in range(count):
        state |= _layer(weights, f"encoder.layer.{number}.", f"layers.{number}.", names)
    layers = (layer_config(raw),) * count
    return encoder_config(state, raw, layers, pooler_activation=pooler_activation), state


def _embeddings(weights: Weights, first_position: int) -> State:
    """Tables and norm; positions from their first one on."""
    state = {
        "words.weight": weights["embeddings.word_embeddings.weight"],
        "positions.weight": weights["embeddings.position_embeddings.weight"][first_position:].clone(),
        **_renamed(weights, {"embeddings.LayerNorm": "embedding_norm"}),
    }
    types = weights.get("embeddings.token_type_embeddings.weight")
    if types is not None and len(types) == 1:
        state["positions.weight"] += types
    elif types is not None:
        state["token_types.weight"] = types
    return state


def _layer(weights: Weights, old: str, new: str, names: Mapping[str, str]) -> State:
    state: State = {}
    for part in ("weight", "bias"):
        found = {ours: weights[f"{old}{theirs}.{part}"] for theirs, ours in names.items()}
        qkv = [found.pop(each) for each in ("query", "key", "value")]
        state |= {f"{new}{name}.{part}": weight for name, weight in found.items()}
        state[f"{new}attention.qkv.{part}"] = torch.cat(qkv)
    return state


def _convbert_layer(weights: Weights, old: str, new: str, groups: int) -> State:
    grouped = {} if groups == 1 else {"intermediate.dense": "ffn.input", "output.dense": "ffn.output"}
    state = _layer(weights, old, new, {name: ours for name, ours in _BERT_LAYER.items() if name not in grouped})
    for theirs, ours in grouped.items():
        parts = zip(weights[f"{old}{theirs}.weight"], weights[f"{old}{theirs}.bias"].chunk(groups), strict=True)
        for number, (weight, bias) in enumerate(parts):
            part = f"{new}{ours}.parts.{number}"
            state |= {f"{part}.weight": weight.T.contiguous(), f"{part}.bias": bias.clone()}
    theirs, ours = f"{old}attention.self.", f"{new}attention.convolution."
    spans = f"{theirs}key_conv_attn_layer."
    state |= {
        f"{ours}depthwise": weights[f"{spans}depthwise.weight"],
        f"{ours}spans.weight": weights[f"{spans}pointwise.weight"].squeeze(2),
        f"{ours}spans.bias": weights[f"{spans}bias"].squeeze(1),
    }
    names = {f"{theirs}conv_kernel_layer": f"{ours}kernels", f"{theirs}conv_out_layer": f"{ours}values"}
    return state | _renamed(weights, names)


def _dense_head(weights: Weights) -> State:
    """The head of RoBERTa, ELECTRA and MPNet, which has a dense layer of its own; without one, a pooler if any."""
    dense = "classifier.dense" if "classifier.dense.weight" in weights else "pooler.dense"
    output = "classifier" if "classifier.weight" in weights else "classifier.out_proj"
    return _renamed(weights, {dense: "pooler", output: "classifier"})


def _renamed(weights: Weights, names: Mapping[str, str]) -> State:
    """Weight and bias of what is there of these modules."""
    return {
        f"{ours}.{part}": weights[f"{theirs}.{part}"]
        for theirs, ours in names.items()
        for part in ("weight", "bias")
        if f"{theirs}.{part}" in weights
    }

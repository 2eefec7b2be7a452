"""Operations that change what all layers of an encoder compute with their weights, and keep its `config` true."""

from dataclasses import replace

import torch
from torch import nn

from eicompress.encoder.config import Activation
from eicompress.encoder.model import Encoder
from eicompress.encoder.norms import LayerNorm, NoNorm


def use_no_norm(model: Encoder) -> None:
    """Leave gains and biases alone of the norms of the embedding and of the layers; those of shared layers once."""
    made: dict[LayerNorm, NoNorm] = {}

    def without(norm: LayerNorm) -> NoNorm:
        if norm not in made:
            made[norm] = NoNorm(len(norm.weight))
            made[norm].load_state_dict(norm.state_dict())
        return made[norm]

    if isinstance(model.embedding_norm, LayerNorm):
        model.embedding_norm = without(model.embedding_norm)
    for module in [*model.layers.modules()]:
        for name, part in [*module.named_children()]:
            if isinstance(part, LayerNorm):
                setattr(module, name, without(part))
    model.config = replace(model.config, norm="no_norm", sum_norm_eps=None)


def use_activation(model: Encoder, activation: Activation) -> None:
    """Let feed-forward blocks compute this activation, but for those that compute an expression of their own."""
    for layer in range(len(model.layers)):
        for block in model.layer(layer).ffn.blocks:
            block.use_activation(activation)
    model.config = replace(model.config, activation=activation)


@torch.no_grad()
def read_neighbours(model: Encoder) -> None:
    """Let the projection of word vectors read those of the tokens before and after too, with weights of zero: the
    states stay as they are."""
    assert model.projection is not None and model.config.projection == "words"
    weight, spec = model.projection.weight, model.projection.spec
    zeros = torch.zeros_like(weight)
    model.projection.weight = nn.Parameter(torch.cat([zeros, weight, zeros], dim=1))
    model.projection.set_quantization(spec)
    model.config = replace(model.config, projection="trigrams")

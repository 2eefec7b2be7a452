"""Heads: the modules between an encoder's last states and its logits."""

from dataclasses import replace

import torch
from torch import nn

from eicompress.answers import Answer
from eicompress.encoder.linear import Linear
from eicompress.encoder.model import Encoder


def answer_words(encoder: Encoder, outputs: int | None = None) -> None:
    """Let this number of the classifier's outputs, the last ones, by default all, read the state of each token."""
    encoder.drop_pooler()
    encoder.config = replace(encoder.config, word_outputs=encoder.config.outputs if outputs is None else outputs)


def answer_with_states(encoder: Encoder) -> None:
    """Let the answer be the pooled state itself, divided by its length."""
    width = encoder.config.hidden
    encoder.drop_pooler()
    encoder.classifier = Linear(width, width)
    with torch.no_grad():
        encoder.classifier.weight.copy_(torch.eye(width))
        encoder.classifier.bias.zero_()
    encoder.config = replace(encoder.config, outputs=width, unit=True)


def head_modules(encoder: Encoder) -> list[nn.Module]:
    """The modules of its head, in the order in which they read each other."""
    return [each for each in (encoder.pooler, encoder.pooler_norm, encoder.classifier) if each is not None]


def answer_as(encoder: Encoder, known: Answer | None, wanted: Answer) -> bool:
    """Let a head that answers `known` answer `wanted`: outputs in its order, numbers in its units.

    False, and nothing is changed, where it answers something else.
    """
    outputs = wanted.outputs_of(known)
    if known is None or outputs is None or len(outputs) != known.outputs:
        return False
    encoder.keep_outputs(outputs)
    rescaling = wanted.rescaling(known)
    if rescaling:
        encoder.scale_outputs(*rescaling)
    return True

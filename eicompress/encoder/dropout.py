"""Dropout: values of an encoder's blocks that a training sets to zero, other ones at each step (arXiv 1207.0580)."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional as F

from eicompress.encoder.model import Encoder


@contextmanager
def dropping(encoder: Encoder | None, share: float) -> Iterator[None]:
    """While the encoder trains, this share of what its embedding and each of its blocks say is zero, as in BERT
    (arXiv 1810.04805); weights of attention are not dropped. A part that layers share drops once each time it is read.
    """

    def drop(module: nn.Module, _: object, said: Tensor) -> Tensor:
        return F.dropout(said, share, module.training)

    if encoder is None or not share:
        yield
        return
    parts: list[nn.Module] = [encoder.embedding_norm]
    for number in range(len(encoder.layers)):
        layer = encoder.layer(number)
        parts += [layer.attention.output, *(block.output for block in layer.ffn.blocks)]
    hooks = [part.register_forward_hook(drop) for part in dict.fromkeys(parts)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

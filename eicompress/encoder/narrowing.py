"""A narrower encoder: fewer residual dimensions in all that reads or writes them."""

from typing import TYPE_CHECKING

from torch import Tensor

from eicompress.encoder.embedding import CodebookEmbedding
from eicompress.errors import Inapplicable

if TYPE_CHECKING:
    from eicompress.encoder.model import Encoder


def narrow(model: "Encoder", dimensions: Tensor) -> None:
    """Keep only these residual dimensions of every part of the encoder, whose `config` is left to the caller.

    Raises `Inapplicable` where word vectors of this width are put together from a codebook.
    """
    if model.projection is None:
        if isinstance(model.words, CodebookEmbedding):
            raise Inapplicable("no dimension can be taken out of a codebook: narrow the model before it gets one")
        model.words.select(columns=dimensions)
    else:
        model.projection.select(outputs=dimensions)
    if model.config.projection != "embeddings":
        for table in (model.positions, model.token_types):
            if table is not None:
                table.select(columns=dimensions)
    for norm in model.residual_norms():
        norm.select(dimensions)
    layers = [model.layer(number) for number in range(len(model.layers))]
    for reader in dict.fromkeys(each for layer in layers for each in layer.readers):
        reader.select(inputs=dimensions)
    for writer in dict.fromkeys(each for layer in layers for each in layer.writers):
        writer.select(outputs=dimensions)
    for attention in {layer.attention for layer in layers}:
        attention.keep_hidden(dimensions)
    for part in (model.bigrams, model.references):
        if part is not None:
            part.output.select(outputs=dimensions)
    if model.pooler is not None:
        model.pooler.select(inputs=dimensions, outputs=dimensions)
    model.classifier.select(inputs=dimensions)

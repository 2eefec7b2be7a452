"""The one model that strategies edit: a BERT-like encoder with its task head.

A strategy changes it only through the operations below, which keep `config` true. With first-token pooling the
last layer computes the first token alone, since nothing else is read: the logits are the same, and a layer's
time is saved.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from eicompress.answers import Factors
from eicompress.encoder.blocks import FeedForward, Layer, SelfAttention, activated
from eicompress.encoder.config import BigramConfig, CodebookConfig, EncoderConfig
from eicompress.encoder.embedding import (
    BigramEmbedding,
    CodebookEmbedding,
    Embedding,
    filled_bigrams,
    new_projection,
    new_words,
    with_neighbours,
)
from eicompress.encoder.layers import described, new_layers
from eicompress.encoder.linear import Linear, kronecker, low_rank
from eicompress.encoder.narrowing import narrow
from eicompress.encoder.norms import LayerNorm, Norm, new_norm
from eicompress.encoder.pooling import EncoderOutput, apply_classifier, apply_to_pooled, before_tokens, pooled_by
from eicompress.encoder.quantization import Clipping, QuantSpec, half
from eicompress.encoder.references import References, new_references
from eicompress.errors import Inapplicable

Added = TypeVar("Added", BigramEmbedding, References)


class Encoder(nn.Module):
    """A BERT-like encoder with its head: token ids (B, T) in, logits (B, outputs) out.

    A strategy reads its shapes in `config`, its parts by `layer(number)` (`attention`, `ffn`), `embedding_tables` and
    `linears`, its states by `outputs`, `states`, `after_layer`. It changes weights in place, and shapes by operations:
    `keep_layers`, `use_layers`, `keep_heads`, `keep_neurons`, `factorize`, `use_kronecker`, `keep_hidden`,
    `keep_tokens`, `keep_positions`, `keep_word_dimensions`, `factorize_words`, `use_codebook`, `add_bigrams`,
    `add_references`, `keep_outputs`, `scale_outputs`, `take_head`, `pool_by_mean`, `drop_pooler`,
    `set_quantization`, `round_floats`.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.trainings = 0  # it has had, each of which reads batches of its own
        self.words = new_words(config)
        self.projection = new_projection(config)
        self.positions = Embedding(config.positions, config.summed) if config.position_vectors else None
        self.token_types = Embedding(config.token_types, config.summed) if config.token_types else None
        self.embedding_norm = new_norm(config.norm, config.summed, config.sum_eps)
        self.layers = nn.ModuleList(new_layers(config))
        self.final_norm = LayerNorm(config.hidden, config.norm_eps) if config.norm_first else None
        self.bigrams = BigramEmbedding(config.hidden, config.bigrams) if config.bigrams else None
        self.references = new_references(config)
        self.pooler = Linear(config.hidden, config.hidden) if config.pooler else None
        self.pooler_norm = LayerNorm(config.hidden, config.norm_eps) if config.pooler_norm else None
        self.classifier = Linear(config.hidden, config.outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """(B, T) int64 each, T at most `config.positions` -> logits, as `EncoderOutput` has them."""
        return self.outputs(input_ids, attention_mask, token_type_ids).logits

    def outputs(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> EncoderOutput:
        """As `forward`, with the state that distillation compares."""
        mask = attention_mask
        states = self.embed(input_ids, mask, token_type_ids)
        for number in range(len(self.layers)):
            queries = 1 if self.config.first_alone and number == len(self.layers) - 1 else states.shape[1]
            states = self.after_layer(number, states, input_ids, mask, queries)
        pooled = self.pool(states, input_ids, mask)
        return EncoderOutput(self.head(pooled, mask), pooled)

    def states(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, layers: int | None = None
    ) -> list[Tensor]:
        """(B, T) each -> what the first layer reads, and what each layer says: (B, T, hidden) each, of all tokens.

        Of the first `layers` alone, if that is given.
        """
        states = [self.embed(input_ids, attention_mask, token_type_ids)]
        for number in range(len(self.layers[:layers])):
            states.append(self.after_layer(number, states[-1], input_ids, attention_mask, input_ids.shape[1]))
        return states

    def after_layer(self, number: int, states: Tensor, input_ids: Tensor, mask: Tensor, queries: int) -> Tensor:
        """States (B, T, hidden) -> what a layer makes of them for the first `queries` tokens (B, queries, hidden).

        The first layer's keys and values are also those of the reference, if there are any, as of more tokens.
        """
        if number == 0 and self.references is not None:
            states, mask = self.references(self.words, input_ids, states, mask)
        return cast(Tensor, self.layers[number](states, mask, queries))

    def pool(self, states: Tensor, input_ids: Tensor, mask: Tensor) -> Tensor:
        """The last layer's states (B, T, hidden) of these tokens (B, T) -> `EncoderOutput.pooled`."""
        states = states if self.final_norm is None else self.final_norm(states)
        if self.config.reads == "words":
            return states
        pooled = pooled_by(self.config.pooling, states, mask)
        pooled = pooled if self.bigrams is None else pooled + self.bigrams(input_ids, mask)
        return before_tokens(pooled, states) if self.config.per_word else pooled

    def embed(self, input_ids: Tensor, mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """(B, T) -> the states (B, T, hidden) that the first layer reads."""
        states: Tensor = self.words(input_ids)
        if self.projection is not None and self.config.projection != "embeddings":
            read = with_neighbours(states, mask) if self.config.projection == "trigrams" else states
            states = self.projection(read, mask)
        if self.positions is not None:
            states = states + self.positions(torch.arange(input_ids.shape[1], device=input_ids.device))
        if self.token_types is not None:
            states = states + self.token_types(token_type_ids)
        states = self.embedding_norm(states)
        if self.projection is not None and self.config.projection == "embeddings":
            states = self.projection(states, mask)
        return states

    def head(self, pooled: Tensor, mask: Tensor | None = None) -> Tensor:
        """What `pool` gives, with the mask of real tokens where that has their states -> logits."""
        return self.classify(self.features(pooled), mask)

    def features(self, pooled: Tensor) -> Tensor:
        """The pooled state (B, hidden) -> what the classifier reads (B, hidden)."""
        if self.pooler is None:
            return pooled
        features = activated(apply_to_pooled(self.pooler, pooled, None), self.config.pooler_activation)
        return features if self.pooler_norm is None else self.pooler_norm(features)

    def classify(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """As `head`, of what the classifier reads."""
        return apply_classifier(self.classifier, features, mask, self.config.word_outputs, unit=self.config.unit)

    def layer(self, number: int) -> Layer:
        return cast(Layer, self.layers[number])

    # Operations: each keeps `config` true.

    def keep_tokens(self, ids: Tensor) -> None:
        """Keep only these rows of the word embedding, in this order.

        Raises `Inapplicable` where pairs or references are known by their tokens' numbers, which would change.
        """
        for part, step in ((self.bigrams, "ngram_embedding"), (self.references, "reference")):
            if part is not None:
                raise Inapplicable(f"tokens must keep their numbers: put `{step}` after what prunes the vocabulary")
        self.words.select(rows=ids)
        self.config = replace(
            self.config, vocabulary=len(ids), padding_id=int((ids == self.config.padding_id).nonzero()[0])
        )

    def keep_outputs(self, numbers: Sequence[int]) -> None:
        """Keep only these outputs of the classifier, in this order; all of those of words, as the last ones."""
        self.classifier.select(outputs=torch.tensor(list(numbers)))
        self.config = replace(self.config, outputs=len(numbers))

    @torch.no_grad()
    def scale_outputs(self, factor: Factors, shift: Factors) -> None:
        """Multiply all logits by `factor`, and add `shift` to them; each is one number, or (outputs,)."""
        factors, shifts = (torch.as_tensor(each).to(self.classifier.weight) for each in (factor, shift))
        self.classifier.weight.mul_(factors.reshape(-1, 1))
        self.classifier.bias.mul_(factors).add_(shifts)

    def take_head(self, other: "Encoder", hidden: Tensor) -> None:
        """Take another encoder's head, in as much as it reads these of its residual dimensions; the bits stay."""
        spec = self.classifier.spec
        for name in ("classifier", "pooler", "pooler_norm"):
            part = copy.deepcopy(getattr(other, name))
            if isinstance(part, LayerNorm):
                part.select(hidden)
            elif part is not None:
                part.select(inputs=hidden, outputs=hidden if name == "pooler" else None)
                part.set_quantization(spec)
            setattr(self, name, part)
        taken = ("outputs", "word_outputs", "pooler", "pooler_norm", "unit")
        pooling = other.config.pooling if self.layers else "mean"
        self.config = replace(self.config, pooling=pooling, **{name: getattr(other.config, name) for name in taken})

    def keep_positions(self, count: int) -> None:
        """Keep the first positions only."""
        if self.positions is not None:
            self.positions.select(rows=torch.arange(count))
        self.config = replace(self.config, positions=count)

    def keep_layers(self, numbers: Sequence[int]) -> None:
        """Keep only these layers, in this order; one that is named twice is one layer used twice."""
        self.use_layers([self.layer(number) for number in numbers])

    def use_layers(self, layers: Sequence[Layer]) -> None:
        """These layers instead. A part that several of them hold is stored once and used several times.

        Raises `Inapplicable` where none of them could read the references.
        """
        if self.references is not None and not layers:
            raise Inapplicable("one layer must stay where the first one reads references: leave out `reference`")
        self.layers = nn.ModuleList(each.with_parts() for each in layers)
        self._describe_layers()

    def keep_heads(self, layer: int, heads: Tensor) -> None:
        """Keep only these heads of a layer, and of all layers that share its attention."""
        self.layer(layer).attention.keep_heads(heads)
        self._describe_layers()

    def keep_neurons(self, layer: int, neurons: Tensor) -> None:
        """Keep only these neurons of a layer, and of all layers that share its feed-forward block."""
        self.layer(layer).ffn.keep_neurons(neurons)
        self._describe_layers()

    def factorize(self, block: SelfAttention | FeedForward, matrix: str, outer: Tensor, inner: Tensor) -> None:
        """Replace a matrix of a block by the product of outer (outputs, rank) and inner (rank, inputs).

        The factors get the matrix's bits where it is quantized.
        """
        setattr(block, matrix, low_rank(getattr(block, matrix), outer, inner))
        self._describe_layers()

    def use_kronecker(self, block: SelfAttention | FeedForward, matrix: str, large: Tensor, small: Tensor) -> None:
        """Replace a matrix of a block by the sum of the Kronecker products of large and small factors (terms, ., .).

        The factors are floats, also where the matrix was quantized.
        """
        setattr(block, matrix, kronecker(getattr(block, matrix), large, small))
        self._describe_layers()

    def _describe_layers(self) -> None:
        layers = [self.layer(number) for number in range(len(self.layers))]
        self.config = replace(self.config, layers=described(layers))

    def keep_hidden(self, dimensions: Tensor) -> None:
        """Keep only these residual dimensions, in embedding, layers and head.

        Raises `Inapplicable` where word vectors of this width are put together from a codebook.
        """
        narrow(self, dimensions)
        embedding = self.config.embedding if self.config.projection else len(dimensions)
        self.config = replace(self.config, hidden=len(dimensions), embedding=embedding)

    def factorize_words(self, table: Tensor, projection: Tensor) -> None:
        """Replace the word embedding by a table (vocabulary, size) and a projection (hidden, size).

        The table keeps its bits where it is quantized, and the projection then gets those of the classifier.
        """
        size, spec = table.shape[1], self.words.spec if isinstance(self.words, Embedding) else None
        with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
            self.words, self.projection = Embedding(self.config.vocabulary, size), Linear(size, self.config.hidden)
        self.words.weight = nn.Parameter(table.clone())
        self.projection.weight = nn.Parameter(projection.clone())
        self.words.set_quantization(spec)
        self.projection.set_quantization(self.classifier.spec)
        self.config = replace(self.config, embedding=size, projection="words")

    def keep_word_dimensions(self, dimensions: Tensor) -> None:
        """Keep only these dimensions of a factorized word embedding, with the scales that its rows have."""
        assert isinstance(self.words, Embedding) and self.projection is not None
        self.words.select(columns=dimensions)
        self.projection.select(inputs=dimensions)
        self.config = replace(self.config, embedding=len(dimensions))

    def use_codebook(self, codes: Tensor, book: Tensor, scales: Tensor, books: int) -> None:
        """Replace the word embedding by codes (vocabulary, pieces) of entries of a book (books x entries, piece).

        `scales` (vocabulary, 1) multiply the rows.
        """
        config = CodebookConfig(book.shape[1], len(book) // books, books)
        self.config = replace(self.config, codebook=config)
        words = new_words(self.config)
        assert isinstance(words, CodebookEmbedding)
        words.codes.copy_(codes)
        words.book, words.scales = nn.Parameter(book.clone()), nn.Parameter(scales.clone())
        self.words = words

    def add_bigrams(self, table: Tensor, output: Tensor) -> None:
        """Add to the pooled state the mean of the vectors of pairs of tokens: rows of a table (buckets, width), times
        a matrix (hidden, width).

        They get the bits of the words, or of the positions where words have a codebook, and of the classifier.
        """
        self.bigrams = self._with_bits(filled_bigrams(table, output))
        self.config = replace(self.config, bigrams=BigramConfig(*table.shape))

    def add_references(self, references: References) -> None:
        """Let the first layer read the reference that is nearest to a text too. They get the bits that pairs would."""
        self.references = self._with_bits(references)
        self.config = replace(self.config, references=references.shape)

    def _with_bits(self, part: Added) -> Added:
        part.table.set_quantization(next((each.spec for each in self.embedding_tables()), None))
        part.output.set_quantization(self.classifier.spec)
        return part.train(self.training)

    def pool_by_mean(self) -> None:
        """Let the pooled state be the mean of all real tokens, not the first one."""
        self.config = replace(self.config, pooling="mean")

    def drop_pooler(self) -> None:
        """Let the classifier read the pooled state as it is."""
        self.pooler = self.pooler_norm = None
        self.config = replace(self.config, pooler=False, pooler_norm=False)

    def residual_norms(self) -> Iterator[Norm]:
        """The norms of residual states and of what the pooler says, each once, however many layers share it."""
        if self.config.projection != "embeddings":
            yield self.embedding_norm
        yield from dict.fromkeys(norm for n in range(len(self.layers)) for norm in self.layer(n).residual_norms)
        yield from (each for each in (self.final_norm, self.pooler_norm) if each is not None)

    def embedding_tables(self) -> Iterator[Embedding]:
        """The tables that are worth storing in few bits: words unless they have a codebook, positions, bigrams,
        references."""
        yield from (each for each in (self.words, self.positions) if isinstance(each, Embedding))
        yield from (each.table for each in (self.bigrams, self.references) if each is not None)

    def linears(self) -> Iterator[tuple[str, Linear]]:
        """Every linear layer with its name: the projection, the layers' own, the head's."""
        yield from ((name, each) for name, each in self.named_modules() if isinstance(each, Linear))

    def set_quantization(
        self, embedding: QuantSpec | None, layers: QuantSpec | None, clipping: Clipping = "mse"
    ) -> None:
        """Store the embedding tables and all linear layers as the specs say; None keeps floats."""
        for table in self.embedding_tables():
            table.set_quantization(embedding, clipping)
        for _, linear in self.linears():
            linear.set_quantization(layers, clipping)

    @property
    def quantized(self) -> bool:
        """Whether any weight is stored in few bits; what stays a float is then stored in half precision."""
        return any(each.spec is not None for each in self.modules() if isinstance(each, Linear | Embedding))

    @torch.no_grad()
    def round_floats(self) -> None:
        """Round what a quantized model keeps as floats (biases, norms, token types, codebooks, Kronecker products) to
        half precision."""
        for parameter in self.parameters():
            if parameter.ndim != 2:
                parameter.copy_(half(parameter))
        if self.token_types is not None:
            self.token_types.weight.copy_(half(self.token_types.weight))
        if isinstance(self.words, CodebookEmbedding):
            for parameter in self.words.parameters():
                parameter.copy_(half(parameter))

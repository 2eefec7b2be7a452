"""The shapes of an encoder, as a frozen value."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from eicompress.answers.words import Reads, reads_of
from eicompress.values import Json

Activation: TypeAlias = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"]
"""`gelu_tanh` is the approximation of GELU by a tanh, `silu` a value times its sigmoid (arXiv 1710.05941)."""
Pooling: TypeAlias = Literal["first", "mean"]
"""Of the states of a text's tokens that of the first one, or the mean of all."""
NormKind: TypeAlias = Literal["layer_norm", "no_norm"]
"""`no_norm` is a gain and a bias alone (MobileBERT, arXiv 2004.02984)."""


@dataclass(frozen=True)
class BottleneckConfig:
    """A layer that computes in a width of its own (MobileBERT, arXiv 2004.02984)."""

    width: int
    """Of what its feed-forward blocks read and write, and of what its attention writes."""
    attention: Literal["query_key", "all", "none"] = "query_key"
    """What is narrowed before attention reads it: what queries and keys read, by a map of their own; what all read, by
    the map that the layer has anyway; or nothing."""
    of: int | None = None
    """The earlier layer whose maps to this width and back this one uses as well; None where it has its own."""


@dataclass(frozen=True)
class ConvolutionConfig:
    """Shapes of the dynamic convolution beside a layer's attention. Its heads are as wide as those of the attention."""

    heads: int
    kernel: int
    """How many tokens a head reads, the token itself in their middle: an odd number."""


@dataclass(frozen=True)
class LayerConfig:
    """Shapes of one transformer layer."""

    heads: int
    head_size: int
    ffn: int
    """Neurons of the feed-forward block."""
    attention_of: int | None = None
    """The earlier layer whose attention this one uses as well; None where it has its own."""
    ffn_of: int | None = None
    norms_of: int | None = None
    position_bias_of: int | None = None
    ranks: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Ranks of query-key-value, of the attention's output, and of the feed-forward block's two matrices, where they
    are products of two factors; 0 where they are not."""
    rotary_base: float = 0.0
    """Queries and keys are rotated by angles whose wavelengths go up to this many times 2π tokens (RoPE, arXiv
    2104.09864); 0 where they are not."""
    window: int = 0
    """How many tokens a key may be away from its query; 0 where it may be anywhere."""
    attention_norm: bool = True
    """Whether what attention reads, or writes where norms stand after the sums, is normalized."""
    kroneckers: tuple[tuple[int, int], ...] = ((0, 0),) * 4
    """Of the same matrices, size and number of the small factors where they are sums of Kronecker products."""
    expression: str = ""
    """What a feed-forward block computes, such as `linear2(relu(linear1(x)))`; empty for two linear maps with the
    encoder's activation between them."""
    ffn_blocks: int = 1
    """Feed-forward blocks in a row, each of which adds to what the next one reads."""
    ffn_groups: int = 1
    """Groups of the feed-forward block's matrices: each reads and writes a part of the dimensions."""
    convolution: ConvolutionConfig | None = None
    """None where all heads attend."""
    ffn_norms: bool = False
    """Whether what the next block reads is normalized."""
    bottleneck: BottleneckConfig | None = None
    """None where a layer computes in the hidden width."""


@dataclass(frozen=True)
class CodebookConfig:
    """How word vectors are put together: each piece of `size` dimensions is one of the `entries` of a book."""

    size: int
    entries: int
    books: int
    """One book for all pieces, or one for each."""


@dataclass(frozen=True)
class BigramConfig:
    """Shapes of the vectors of pairs of neighbouring tokens."""

    buckets: int
    """Rows of the table. Pairs with the same hash share one."""
    width: int
    """Dimensions of a row, which are projected to the hidden width."""


@dataclass(frozen=True)
class ReferenceConfig:
    """Shapes of the references, training texts of which the first layer reads the one most similar to its text."""

    count: int
    tokens: int
    """The first ones of a reference, by which it is found."""
    vectors: int
    """What is stored of a reference: this many vectors, each of which is read as one more token."""
    width: int
    """Dimensions of a vector, which are projected to the hidden width."""


@dataclass(frozen=True)
class EncoderConfig:
    """Shapes of an encoder with its task head.

    With no layers the encoder is a static-embedding model, and `pooling` should be "mean".
    """

    vocabulary: int
    embedding: int
    hidden: int
    layers: tuple[LayerConfig, ...]
    positions: int
    outputs: int
    projection: Literal["words", "trigrams", "embeddings"] | None = None
    """What is projected from `embedding` dimensions to `hidden`: the word vectors; those of three neighbouring tokens
    together (MobileBERT); or their sum with positions and token types, normalized (ALBERT, ELECTRA); None where the two
    are the same."""
    position_vectors: bool = True
    """Whether a vector of its position is added to each word vector."""
    position_bias: bool = False
    """Whether attention adds to its scores what depends on the distance of two tokens (T5, MPNet)."""
    token_types: int = 2
    """0 where a model does not tell a first text from a second."""
    word_outputs: int = 0
    """How many of the outputs, the last ones, read the state of each token, of which the first of a word answers for
    the word. The others read the pooled state of the text."""
    pooling: Pooling = "first"
    """How a text's states are pooled."""
    pooler: bool = True
    """Whether a dense layer stands between the pooled state and the classifier."""
    pooler_activation: Activation = "tanh"
    pooler_norm: bool = False
    """Whether what the pooler says is normalized."""
    activation: Activation = "gelu"
    gated: bool = False
    """Whether the feed-forward block's neurons are multiplied by linear gates (GLU, arXiv 2002.05202)."""
    norm_first: bool = False
    """Whether a layer normalizes what its blocks read, and the last layer's states are normalized, in place of the
    sums (arXiv 2002.04745)."""
    norm: NormKind = "layer_norm"
    """What normalizes the embedding and the sums of layers."""
    norm_eps: float = 1e-12
    sum_norm_eps: float | None = None
    """Of the norms of the embedding and of what a layer's last feed-forward block adds to, where it is another than
    `norm_eps` (MobileBERT with layer normalization)."""
    padding_id: int = 0
    codebook: CodebookConfig | None = None
    """None where word vectors are stored as they are."""
    bigrams: BigramConfig | None = None
    """None where the pooled state holds nothing of pairs of tokens."""
    references: ReferenceConfig | None = None
    """None where a text is all that is read."""
    unit: bool = False
    """Whether logits are divided by their length, so that they are a vector of length one."""

    @property
    def reads(self) -> Reads:
        """What the outputs answer: texts, words or both."""
        return reads_of(self.outputs, self.word_outputs)

    @property
    def per_word(self) -> bool:
        """Whether each token has an answer."""
        return self.word_outputs > 0

    @property
    def first_alone(self) -> bool:
        """Whether of the last layer nothing but the first token is read."""
        return self.pooling == "first" and not self.per_word

    @property
    def sum_eps(self) -> float:
        return self.norm_eps if self.sum_norm_eps is None else self.sum_norm_eps

    @property
    def summed(self) -> int:
        """Dimensions in which word vectors, positions and token types are summed up."""
        return self.embedding if self.projection == "embeddings" else self.hidden

    @property
    def hidden_groups(self) -> int:
        """Groups of residual dimensions, all of one size, of which each must keep as many as the others."""
        return math.lcm(*(each.ffn_groups for each in self.layers))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Json) -> "EncoderConfig":
        layers = tuple(_layer(each) for each in value["layers"])
        codebook = None if value["codebook"] is None else CodebookConfig(**value["codebook"])
        bigrams = None if value.get("bigrams") is None else BigramConfig(**value["bigrams"])
        references = None if value.get("references") is None else ReferenceConfig(**value["references"])
        parts = {"layers": layers, "codebook": codebook, "bigrams": bigrams, "references": references}
        return cls(**{**value, **parts})


def _layer(value: Json) -> LayerConfig:
    products = {"ranks": tuple(value["ranks"]), "kroneckers": tuple(tuple(each) for each in value["kroneckers"])}
    convolution = None if value.get("convolution") is None else ConvolutionConfig(**value["convolution"])
    bottleneck = None if value.get("bottleneck") is None else BottleneckConfig(**value["bottleneck"])
    return LayerConfig(**{**value, **products, "convolution": convolution, "bottleneck": bottleneck})

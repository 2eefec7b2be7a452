"""`ffn_super_network` and `ffn_choice`: one training for many feed-forward blocks, and the cheap step that chooses.

After EfficientBERT (arXiv 2109.07222): a feed-forward block has more weights than the attention before it, and takes
more time, so what it computes is searched, layer by layer: an expression, the number of blocks, and their width. All
choices are slices of one super-network. Unlike there, blocks in a row have no norms of their own, and the super-network
is trained with all the expressions that may be chosen, not with GELU alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from optuna.distributions import FloatDistribution, IntDistribution

from eicompress.contracts import Candidate, Context, ModelStrategy, TextDomain
from eicompress.encoder.elastic import rounded
from eicompress.encoder.elastic_ffn import BlockChoice, ElasticFeedForward, add_blocks, check_choosable, choose
from eicompress.encoder.expression import distinct, parsed, plain, refusal
from eicompress.encoder.layers import check_one_block
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import Batch
from eicompress.errors import Inapplicable
from eicompress.training.importance import measure_importance
from eicompress.training.sandwich import SandwichTraining, SubNetworks, train_sandwich

SHARES = (0.25, 1 / 3, 0.5, 1.0)
"""Of a block's neurons, as they are trained; those between them work too."""
MARK = ";"
"""Between two expressions of a list."""


def _list_refusal(text: str) -> str:
    """Why a text is no list of expressions; empty if it is one."""
    return next((reason for each in text.split(MARK) if (reason := refusal(each))), "")


AN_EXPRESSION = TextDomain("an expression, such as `linear2(gelu(linear1(x)))`", refusal)
EXPRESSIONS = TextDomain("expressions, with a semicolon between two", _list_refusal)
DEFAULT = "; ".join(
    [
        *(plain(activation) for activation in ("gelu", "relu", "tanh")),
        "linear2(mul(relu(linear1(x)), relu(linear1(x))))",
        "linear2(max(linear1(x), tanh(linear1(x))))",
        "linear2(gelu(linear1(max(x, tanh(x)))))",
        "tanh(linear2(gelu(linear1(x))))",
        "mul(linear2(gelu(linear1(x))), sigmoid(x))",
    ]
)


@dataclass(frozen=True)
class FfnSuperNetwork(SandwichTraining):
    """Train the encoder so that each layer does with any of the expressions, with fewer feed-forward blocks, and with
    the first neurons of each block. At each step the largest choice learns from the teacher and the labels, the
    smallest and some random ones from the largest.
    """

    expressions: Annotated[str, EXPRESSIONS] = DEFAULT
    """What a block may compute. The largest and the smallest choice compute the first; one that computes the same as
    another is trained once."""
    blocks: Annotated[int, IntDistribution(1, 4)] = 2
    """Feed-forward blocks in a row of the largest choice."""
    neurons: Annotated[float, FloatDistribution(0.05, 1.0)] = 0.25
    """Share of a block's neurons that the smallest choice has."""

    name: ClassVar[str] = "ffn_super_network"
    paper: ClassVar[str] = "After EfficientBERT, arXiv 2109.07222; the sandwich rule: BigNAS, arXiv 2003.11142"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        check_choosable(model)
        check_one_block(model.config, self.name)
        if not context.preview:
            _order_neurons(subject, context)
        add_blocks(model, self.blocks)
        expressions = [str(each) for each in distinct(map(parsed, self.expressions.split(MARK)))]
        widths = [each.ffn for each in model.config.layers]
        largest = tuple(BlockChoice(expressions[0], self.blocks, width) for width in widths)
        if not context.preview:
            smallest = tuple(BlockChoice(expressions[0], 1, rounded(self.neurons * width, width)) for width in widths)
            elastic = ElasticFeedForward(model)

            def draw(generator: np.random.Generator) -> tuple[BlockChoice, ...]:
                return tuple(self._drawn(generator, expressions, width) for width in widths)

            def logits(part: tuple[BlockChoice, ...], batch: Batch) -> torch.Tensor:
                return batch.answers(elastic.logits(part, batch.input_ids, batch.attention_mask, batch.token_type_ids))

            parts = SubNetworks(logits, largest, smallest, draw)
            train_sandwich(subject, context, self, self.rows(subject, context), parts)
        choose(model, largest)
        facts = {"expressions": expressions, "neurons": self.neurons}
        return replace(subject, facts={**subject.facts, self.name: facts})

    def _drawn(self, generator: np.random.Generator, expressions: Sequence[str], width: int) -> BlockChoice:
        shares = [self.neurons, *(each for each in SHARES if each > self.neurons)]
        return BlockChoice(
            expressions[int(generator.integers(len(expressions)))],
            int(generator.integers(1, self.blocks + 1)),
            rounded(shares[int(generator.integers(len(shares)))] * width, width),
        )


@dataclass(frozen=True)
class FfnChoice(ModelStrategy):
    """Choose the feed-forward blocks of a layer, or of all layers alike. Nothing is trained: of an encoder that was not
    trained by `ffn_super_network`, let a training follow.
    """

    layer: Annotated[int, IntDistribution(0, 48)] = 0
    """Which layer, counted from 1; 0 for all of them."""
    expression: Annotated[str, AN_EXPRESSION] = plain("gelu")
    """What each block computes."""
    blocks: Annotated[int, IntDistribution(1, 4)] = 1
    """How many feed-forward blocks in a row, of those that there are."""
    neurons: Annotated[float, FloatDistribution(0.05, 1.0)] = 1.0
    """Share of each block's neurons, from the first."""

    name: ClassVar[str] = "ffn_choice"
    paper: ClassVar[str] = "After EfficientBERT, arXiv 2109.07222"
    example: ClassVar[Mapping[str, Any]] = {"expression": plain("relu"), "neurons": 0.5}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        check_choosable(model)
        trained = subject.facts.get(FfnSuperNetwork.name)
        if isinstance(trained, dict):
            self._check_trained(trained)
        if self.layer > len(model.layers):
            raise Inapplicable(
                f"`{self.name}.layer` must be at most the model's {len(model.layers)} layers, but is {self.layer}"
            )
        choose(model, [self._choice(model, number) for number in range(len(model.layers))])
        return subject

    def _choice(self, model: Encoder, number: int) -> BlockChoice:
        shape = model.config.layers[number]
        if self.layer not in (0, number + 1):
            return BlockChoice(str(model.layer(number).ffn.expression), shape.ffn_blocks, shape.ffn)
        if self.blocks > shape.ffn_blocks:
            raise Inapplicable(
                f"`{self.name}.blocks` must be at most the {shape.ffn_blocks} that layer {number + 1} has, but is "
                f"{self.blocks}: put `ffn_super_network` with as many before it"
            )
        return BlockChoice(self.expression, self.blocks, rounded(self.neurons * shape.ffn, shape.ffn))

    def _check_trained(self, trained: Mapping[str, Any]) -> None:
        known = [parsed(each) for each in trained["expressions"]]
        if len(distinct([*known, parsed(self.expression)])) > len(known):
            raise Inapplicable(
                f"`{self.name}.expression` must be one that `ffn_super_network` was trained with, but is "
                f"`{self.expression}`: name it there, in `expressions`"
            )
        if self.neurons < trained["neurons"]:
            raise Inapplicable(
                f"`{self.name}.neurons` must be at least {trained['neurons']:g}, as few as were trained, but is "
                f"{self.neurons:g}"
            )


def _order_neurons(subject: Candidate, context: Context) -> None:
    """Put each layer's neurons in the order of their importance: the encoder answers as before, but by rounding."""
    importance = measure_importance(subject, context)
    for number in range(len(subject.encoder.layers)):
        order = np.argsort(-importance[f"neurons.{number}"], kind="stable")
        subject.encoder.keep_neurons(number, torch.from_numpy(order.astype(np.int64)))

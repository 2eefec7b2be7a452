"""`super_network` and `subnetwork`: weights that are trained once for many sizes, and the cheap step that takes one.

After DynaBERT (arXiv 2004.04037): heads and neurons are put in the order of their importance, so that the first ones
are those that small sub-networks need most; then sub-networks of several widths and depths are trained at each step.
Unlike there, width and depth are trained together, by the sandwich rule (BigNAS, arXiv 2003.11142), and word vectors
have elastic dimensions too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor

from eicompress.contracts import Candidate, Context, ModelStrategy, Origin
from eicompress.encoder.elastic import Elastic, Part, Widths, check_elastic, extract, sloping, sub_network
from eicompress.encoder.embedding import Embedding
from eicompress.encoder.model import Encoder
from eicompress.encoder.tokens import Batch
from eicompress.errors import Inapplicable
from eicompress.training.importance import measure_importance
from eicompress.training.nested_vocabulary import Reading, first_tokens, readings
from eicompress.training.sandwich import SandwichTraining, SubNetworks, train_sandwich
from eicompress.values import seed_of

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of heads, neurons and word dimensions, as they are trained; those between them work too."""

Share = Annotated[float, FloatDistribution(0.05, 1.0)]
Slope = Annotated[float, FloatDistribution(-1.0, 1.0)]


@dataclass(frozen=True)
class SuperNetwork(SandwichTraining):
    """Train the encoder so that its first heads, neurons and word dimensions, and some of its layers, do without the
    others. At each step the largest sub-network learns from the teacher and the labels, the smallest and some random
    ones from the largest.

    What stands before it, such as `quantization`, holds for all sub-networks.
    """

    layers: Annotated[int, IntDistribution(1, 48)] = 1
    """Layers of the smallest sub-network."""
    heads: Share = 0.25
    """Share of a layer's heads that the smallest sub-network has."""
    neurons: Share = 0.25
    """Share of a layer's neurons that it has."""
    embedding: Share = 0.25
    """Share of the word vectors' dimensions that it has; all are kept where the word embedding is not factorized."""
    vocabulary: Share = 1.0
    """Share of the tokens that it reads texts with: those that the training texts miss most."""
    uneven: Annotated[bool, CategoricalDistribution((True, False))] = False
    """Whether random sub-networks have heads and neurons of their own in each layer, and not one share in all."""
    rewire: Annotated[bool, CategoricalDistribution((True, False))] = True
    """Whether heads, neurons and word dimensions are put in the order of their importance before the training."""

    name: ClassVar[str] = "super_network"
    paper: ClassVar[str] = "After DynaBERT, arXiv 2004.04037; the sandwich rule: BigNAS, arXiv 2003.11142"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        check_elastic(model)
        elastic = ["embedding"] if model.config.projection == "words" else []
        least = {each: getattr(self, each) for each in ("layers", "heads", "neurons", "vocabulary", *elastic)}
        if self.layers > len(model.layers):
            raise Inapplicable(
                f"`{self.name}.layers` must be at most the model's {len(model.layers)} layers, but is {self.layers}"
            )
        made = replace(subject, facts={**subject.facts, self.name: {"least": least}})
        if context.preview:
            return made
        if self.rewire:
            rewire(subject, context)
        rows = self.rows(subject, context)
        read = readings(subject.tokenizer, _between(self.vocabulary), rows[1], model.config.padding_id, context)
        of = _Parts(self, Elastic(model), {"embedding": 1.0, **least}, read)
        parts = SubNetworks(of.logits, of.largest, of.smallest, of.draw)
        train_sandwich(subject, context, self, rows, parts)
        return made


@dataclass(frozen=True)
class Subnetwork(ModelStrategy):
    """Take a part of a super-network: some layers, and the first parts of each. Nothing is trained.

    Of an encoder that was not trained as a super-network, the part knows nothing of being alone: let a training follow.
    """

    layers: Annotated[int, IntDistribution(1, 48)] = 1
    """How many layers, evenly spread up to the last one."""
    heads: Share = 1.0
    """Share of each layer's heads."""
    neurons: Share = 1.0
    """Share of each layer's neurons."""
    embedding: Share = 1.0
    """Share of the word vectors' dimensions."""
    vocabulary: Share = 1.0
    """Share of the tokens: those that the training texts miss most."""
    heads_slope: Slope = 0.0
    """By how much the share of heads grows towards the last layer: at 0.5 the last one has 1.5 times `heads`, the first
    one 0.5 times, as far as such layers were trained."""
    neurons_slope: Slope = 0.0
    """The same of `neurons`."""

    name: ClassVar[str] = "subnetwork"
    paper: ClassVar[str] = "DynaBERT, arXiv 2004.04037"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        check_elastic(model)
        trained = subject.facts.get(SuperNetwork.name)
        least: Mapping[str, float] = trained["least"] if isinstance(trained, dict) else {}
        self._check_trained(least)
        if self.layers > len(model.layers):
            raise Inapplicable(
                f"`{self.name}.layers` must be at most the model's {len(model.layers)} layers, but is {self.layers}"
            )
        heads = sloping(self.heads, self.heads_slope, self.layers, least.get("heads", 0.0))
        neurons = sloping(self.neurons, self.neurons_slope, self.layers, least.get("neurons", 0.0))
        part = sub_network(model.config, self.layers, heads, neurons, self.embedding)
        extract(model, part)
        tokenizer = subject.tokenizer
        if self.vocabulary < 1.0:
            tokenizer, kept = first_tokens(tokenizer, self.vocabulary, context)
            model.keep_tokens(torch.from_numpy(kept))
        origin = Origin(tuple(subject.origin.layers[number] for number in part.layers), subject.origin.hidden)
        return replace(subject, origin=origin, tokenizer=tokenizer)

    def _check_trained(self, least: Mapping[str, float]) -> None:
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise Inapplicable(
                    f"`{self.name}.{name}` must be at least {bound:g}, as small as it was trained to be, "
                    f"but is {getattr(self, name):g}"
                )


@dataclass(frozen=True)
class _Parts:
    """The sub-networks that are trained: each a part of the encoder, and the share of the tokens that it reads with."""

    knobs: SuperNetwork
    elastic: Elastic
    least: Mapping[str, float]
    """The shares of the smallest one."""
    read: Mapping[float, Reading]
    """The texts, as they are read with a share of the tokens."""

    def logits(self, part: tuple[Part, float], batch: Batch) -> Tensor:
        shape, vocabulary = part
        read = self.read[vocabulary].batch(batch) if vocabulary in self.read else batch
        return read.answers(self.elastic.logits(shape, read.input_ids, read.attention_mask, read.token_type_ids))

    @property
    def largest(self) -> tuple[Part, float]:
        config = self.elastic.model.config
        return sub_network(config, len(config.layers), 1.0, 1.0, 1.0), 1.0

    @property
    def smallest(self) -> tuple[Part, float]:
        shares = (self.least[each] for each in _WIDTHS)
        return sub_network(self.elastic.model.config, self.knobs.layers, *shares), self.knobs.vocabulary

    def draw(self, generator: np.random.Generator) -> tuple[Part, float]:
        config = self.elastic.model.config
        layers = int(generator.integers(self.knobs.layers, len(config.layers) + 1))
        shares = [float(generator.choice(_between(self.least[each]))) for each in _WIDTHS]
        heads: Widths = shares[0]
        neurons: Widths = shares[1]
        if self.knobs.uneven:
            heads, neurons = (generator.choice(_between(self.least[each]), layers).tolist() for each in _WIDTHS[:2])
        vocabulary = float(generator.choice(_between(self.knobs.vocabulary))) if self.read else 1.0
        return sub_network(config, layers, heads, neurons, shares[2]), vocabulary


_WIDTHS = ("heads", "neurons", "embedding")


def _between(least: float) -> list[float]:
    return [least, *(each for each in SHARES if each > least)]


def rewire(subject: Candidate, context: Context) -> None:
    """Put heads and neurons in the order of their importance, and the dimensions of factorized word vectors in that of
    their spread; nothing of what the encoder answers changes but by rounding."""
    model = subject.encoder
    importance = measure_importance(subject, context)
    for number in range(len(model.layers)):
        for kind, keep in (("heads", model.keep_heads), ("neurons", model.keep_neurons)):
            order = np.argsort(-importance[f"{kind}.{number}"], kind="stable")
            keep(number, torch.from_numpy(order.astype(np.int64)))
    if model.config.projection == "words":
        _order_words(model, context.seed)


def _order_words(model: Encoder, seed: int) -> None:
    """Turn the word vectors so that their first dimensions hold most of what they tell apart, those of each trained
    width spread evenly, which few bits with one scale a row need."""
    assert isinstance(model.words, Embedding) and model.projection is not None
    table, projection, bias = (
        each.detach() for each in (model.words.weight, model.projection.weight, model.projection.bias)
    )
    # In the space of the states, where a dimension counts by what the projection makes of it.
    outer, inner = torch.linalg.qr(projection)
    read = table @ inner.T
    _, directions = torch.linalg.eigh(read.T @ read)
    directions = directions.flip(1)
    size = table.shape[1]
    ends = sorted({round(share * size) for share in SHARES})
    generator = torch.Generator().manual_seed(seed_of(seed, "rotation"))
    for start, end in zip([0, *ends], ends, strict=False):
        turn, _ = torch.linalg.qr(torch.randn(end - start, end - start, generator=generator))
        directions[:, start:end] = directions[:, start:end] @ turn
    model.factorize_words(read @ directions, outer @ directions)
    model.projection.bias = torch.nn.Parameter(bias.clone())

"""`reference`: the first layer also reads what the teacher computed of a similar training text (RefBERT).

The teacher's last states of some training texts are stored in the artifact. The text most similar to an input is found
by the student's own word vectors, and its stored states are more keys and values of the first layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from optuna.distributions import IntDistribution
from torch import Tensor
from torch.nn import functional as F

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.config import ReferenceConfig
from eicompress.encoder.device import moved
from eicompress.encoder.model import Encoder
from eicompress.encoder.references import check_without_references, filled_references
from eicompress.encoder.tokens import tokenize
from eicompress.errors import Inapplicable
from eicompress.training.k_means import k_means
from eicompress.training.reconstruction import principal_axes
from eicompress.values import Text, seed_of

MOST = 8192
"""Training texts among which references are chosen, drawn where there are more."""
TOKENS = 16
"""By which a reference is found, from its beginning on."""


@dataclass(frozen=True)
class Reference(ModelStrategy):
    """Store the baseline's last states of some training texts, and let the first layer read those of the most similar
    one. They are fitted to the student's states by a later training.

    A reference takes 32 bytes for its tokens, and vectors x width numbers in the bits of the word vectors.
    """

    references: Annotated[int, IntDistribution(1, MOST, log=True)] = 256
    """Training texts that are stored: those nearest to the centres of as many clusters of the baseline's states."""
    vectors: Annotated[int, IntDistribution(1, 16)] = 1
    """Vectors of a reference: the means of the states of as many parts of its tokens, in their order."""
    width: Annotated[int, IntDistribution(4, 1024, log=True)] = 64
    """Dimensions of a vector: principal components of the baseline's states, at most as many as these have."""

    name: ClassVar[str] = "reference"
    paper: ClassVar[str] = "RefBERT, arXiv 2106.08898"
    example: ClassVar[Mapping[str, Any]] = {"references": 4, "vectors": 2, "width": 8}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        self._check(model)
        texts = _texts(context)
        ids, rows = _different(subject, texts)
        if len(rows) < self.references:
            raise Inapplicable(
                f"`{self.name}.references` must be at most the {len(rows)} training texts that differ in their tokens, "
                f"but is {self.references}: store fewer, or give more training texts"
            )
        width = min(self.width, context.baseline.encoder.config.hidden)
        shape = ReferenceConfig(self.references, ids.shape[1], self.vectors, width)
        if context.preview:
            chosen = rows[: self.references]
            table, weight, bias = _noise(shape, model.config.hidden, seed_of(context.seed, self.name))
            facts = {}
        else:
            found = context.cache("reference_states", lambda: {"states": _states(context, texts, 1).half().numpy()})
            states = torch.from_numpy(found["states"][rows.numpy(), 0].astype(np.float32))
            chosen = rows[_nearest_to_centres(states, self.references, seed_of(context.seed, self.name))]
            stored = _states(context, [texts[row] for row in chosen.tolist()], self.vectors)
            table, weight, bias, kept = _components(stored, width, seed_of(context.seed, self.name, "axes"))
            weight, bias = weight[list(subject.origin.hidden)], bias[list(subject.origin.hidden)]
            facts = {"variance_kept": round(kept, 4)}
        model.add_references(filled_references(shape, ids[chosen], table, (weight, bias), model.config.padding_id))
        return replace(subject, facts={**subject.facts, self.name: facts})

    def _check(self, model: Encoder) -> None:
        config = model.config
        check_without_references(config, self.name)
        if not config.layers:
            raise Inapplicable(f"`{self.name}` gives keys and values to the first layer, but the model has none")
        placed = config.position_bias or any(each.rotary_base or each.window for each in config.layers)
        other = any(each.convolution or each.bottleneck for each in config.layers)
        if placed or other or config.norm_first:
            raise Inapplicable(
                f"`{self.name}` adds keys that stand at no position, and closes a gate by zeros: it acts on layers "
                "that normalize after each sum, without rotations, windows, distances, convolutions or bottlenecks"
            )


def _texts(context: Context) -> list[Text]:
    """The training texts among which references are chosen, in random order."""
    texts = context.train.texts
    drawn = np.random.default_rng(seed_of(context.seed, "references")).permutation(len(texts))[:MOST]
    return [texts[row] for row in drawn.tolist()]


def _different(subject: Candidate, texts: Sequence[Text]) -> tuple[Tensor, Tensor]:
    """The first tokens of each text (n, tokens), padded, and the rows of those of which no two have the same ones, in
    any order: they would be equally similar to all texts."""
    config = subject.encoder.config
    ids = np.full((len(texts), min(TOKENS, config.positions)), config.padding_id, np.int64)
    tokens = tokenize(subject.tokenizer, texts)
    for row, (start, end) in enumerate(pairwise(tokens.starts.tolist())):
        first = tokens.ids[start:end][: ids.shape[1]]
        ids[row, : len(first)] = first
    rows = np.unique(np.sort(ids, axis=1), axis=0, return_index=True)[1]
    return torch.from_numpy(ids), torch.from_numpy(np.sort(rows))


@torch.inference_mode()
def _states(context: Context, texts: Sequence[Text], parts: int) -> Tensor:
    """(n, parts, width): the means of the baseline's last states, over as many parts of each text's tokens."""
    model, device = context.baseline.encoder, context.compute_device
    tokens = tokenize(context.baseline.tokenizer, texts)
    found = torch.empty(len(texts), parts, model.config.hidden)
    with moved(model, device):
        for rows in tokens.in_order():
            batch = tokens.batch(rows, model.config.padding_id, device)
            states = model.states(batch.input_ids, batch.attention_mask, batch.token_type_ids)[-1]
            states = states if model.final_norm is None else model.final_norm(states)
            for row, of_text, real in zip(rows.tolist(), states.float().cpu(), batch.attention_mask.cpu(), strict=True):
                found[row] = F.adaptive_avg_pool1d(of_text[real.bool()].T, parts).T
    return found


def _nearest_to_centres(states: Tensor, count: int, seed: int) -> Tensor:
    """States (n, width) -> rows (count,) of the nearest one to each centre of k-means; for centres that no state is
    near to, the next nearest ones to others."""
    codes, centres = k_means(states, torch.ones(len(states)), count, seed)
    order = (states - centres[codes]).square().sum(dim=1).argsort(stable=True)
    first = order[np.unique(codes[order].numpy(), return_index=True)[1]]
    others = order[~torch.isin(order, first)]
    return torch.cat([first, others])[:count]


def _components(states: Tensor, width: int, seed: int) -> tuple[Tensor, Tensor, Tensor, float]:
    """States (count, parts, size) -> their principal components (count, parts x width), the weight (size, width) and
    bias (size,) that map these back, and the share of the variance that they keep."""
    mean = states.mean(dim=(0, 1))
    centred = states - mean
    axes = principal_axes(centred.flatten(0, 1).T.cov(correction=0), width, seed)
    components = centred @ axes
    kept = float(components.square().sum() / centred.square().sum().clamp_min(1e-30))
    return components.flatten(1), axes, mean, kept


def _noise(shape: ReferenceConfig, hidden: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Table, weight and bias of a preview, which are no constants that a file stores once."""
    chance = torch.Generator().manual_seed(seed)
    sizes = ((shape.count, shape.vectors * shape.width), (hidden, shape.width), (hidden,))
    table, weight, bias = (torch.randn(each, generator=chance) for each in sizes)
    return table, weight, bias

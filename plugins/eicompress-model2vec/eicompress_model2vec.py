"""`model2vec`: a static model, distilled from the teacher, for every study to be held against.

What model2vec computes (a vector for each token, principal components, weights by Zipf's law) is computed by model2vec.
The result is an encoder without layers, so that all that follows in a recipe can act on it, and it is exported like
every other. Two things of an encoder had to be got out of the way:

- The normalization of the summed embedding, which would take away the weights of the tokens. With an epsilon far above
  every variance, and its square root as gain, it only takes away the mean over a token's dimensions; and the vectors
  are turned so that they have none.
- The tokens [CLS] and [SEP], which count in the mean. Their vectors are zero, so that of n words the sum is divided by
  n + 2.

model2vec scales the mean to unit length in the end; this does not.
"""

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from optuna.distributions import FloatDistribution, IntDistribution
from tokenizers import Tokenizer
from torch import Tensor, nn

from eicompress import Candidate, Context, Encoder, Inapplicable, ModelStrategy, Origin, Strategy, hookimpl
from eicompress.contracts import Array
from eicompress.encoder.config import EncoderConfig
from eicompress.encoder.tokens import tokenize
from eicompress.encoder.vocabulary import with_max_length
from eicompress.training.importance import fingerprint
from eicompress.training.regression import least_squares
from eicompress.values import digest_of

EICOMPRESS_INTERFACE = 1
EPSILON = 1e6
"""Of the normalization that is to do nothing. Its root, the gain, is a whole number in half precision too."""
BATCH = 256
_UNUSED = re.compile(r"\[unused\d+\]")


@dataclass(frozen=True)
class Model2Vec(ModelStrategy):
    """A vector for each token, out of the teacher, and a classifier on their mean: no layers, and no training.

    The classifier is the best linear one for the teacher's logits of the training texts, by least squares.
    """

    dimensions: Annotated[int, IntDistribution(8, 1024, log=True)] = 256
    """Of a vector: one more than the principal components that it holds."""
    sif: Annotated[float, FloatDistribution(1e-6, 0.1, log=True)] = 1e-4
    """The smaller, the less frequent tokens weigh."""
    ridge: Annotated[float, FloatDistribution(1e-6, 1.0, log=True)] = 1e-3
    """Penalty on the classifier's weights, as a share of the mean variance of what it reads."""

    name: ClassVar[str] = "model2vec"
    paper: ClassVar[str] = "github.com/MinishLab/model2vec; SIF: A simple but tough-to-beat baseline, ICLR 2017"
    example: ClassVar[Mapping[str, Any]] = {"dimensions": 16}

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        if model.config.per_word:
            raise Inapplicable(
                f"`{self.name}` makes a model of whole texts, but this encoder answers each word: leave it out"
            )
        spoken = _spoken(subject.tokenizer)
        most = min(model.config.hidden, len(spoken) - 1)
        if self.dimensions > most:
            raise Inapplicable(
                f"`{self.name}.dimensions` must be at most {most}, for a width of {model.config.hidden} and "
                f"{len(spoken)} tokens, but is {self.dimensions}"
            )
        made, tokenizer = _without_layers(subject, self.dimensions, context)
        static = Candidate(made, tokenizer, Origin((), tuple(range(self.dimensions))), subject.facts)
        if context.preview:
            return static
        with torch.no_grad():
            made.words.weight[spoken] = torch.from_numpy(self._vectors(subject, spoken, context))
            agreement = _set_classifier(static, self.ridge, context)
        return replace(static, facts={**subject.facts, self.name: {"agreement_with_teacher": agreement}})

    def _vectors(self, subject: Candidate, spoken: Sequence[int], context: Context) -> Array:
        """(tokens, dimensions), weighted, each with a mean of zero."""
        # They take seconds to import: not before they are needed.
        from model2vec.distill.inference import post_process_embeddings
        from scipy.linalg import helmert

        bits = repr([getattr(each, "spec", None) for each in subject.model.modules()])
        key = digest_of([fingerprint(subject), bits])
        device = context.compute_device
        whole = context.cache(f"model2vec {key}", lambda: {"vectors": _embedded(subject, spoken, device)})
        components, weights = post_process_embeddings(np.asarray(whole["vectors"]), self.dimensions - 1, self.sif)
        turned: Array = (components * weights[:, None]) @ helmert(self.dimensions)
        return turned.astype(np.float32)


def _spoken(tokenizer: Tokenizer) -> list[int]:
    """The ids of the tokens that texts are made of, ascending: the more frequent ones first, in a usual vocabulary."""
    special = tokenizer.get_added_tokens_decoder()
    tokens = sorted((number, token) for token, number in tokenizer.get_vocab().items())
    return [number for number, token in tokens if number not in special and not _UNUSED.fullmatch(token)]


def _without_layers(subject: Candidate, size: int, context: Context) -> tuple[Encoder, Tokenizer]:
    """An encoder of zeros with the vocabulary of the subject, and as many positions as the training texts need."""
    model = subject.encoder
    before = model.config
    tokenizer = with_max_length(subject.tokenizer, before.positions)
    longest = int(tokenize(tokenizer, context.train.texts).lengths.max())
    positions = min(before.positions, -(-longest // 8) * 8)
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
        made = Encoder(
            EncoderConfig(
                vocabulary=before.vocabulary,
                embedding=size,
                hidden=size,
                layers=(),
                positions=positions,
                outputs=before.outputs,
                token_types=before.token_types,
                pooling="mean",
                pooler=False,
                norm_eps=EPSILON,
                padding_id=before.padding_id,
            )
        )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        made.embedding_norm.weight.fill_(EPSILON**0.5)
    return made.eval(), with_max_length(tokenizer, positions)


def _embedded(subject: Candidate, spoken: Sequence[int], device: str) -> Array:
    """(tokens, hidden): what the model says of each token alone, between the special ones of a text."""
    from model2vec.distill.inference import create_embeddings

    model = subject.encoder
    alone = subject.tokenizer.encode("a")
    first = alone.special_tokens_mask.index(0)
    before = alone.ids[:first]
    after = [
        number for number, special in zip(alone.ids[first:], alone.special_tokens_mask[first:], strict=True) if special
    ]
    sequences = [[*before, number, *after] for number in spoken]
    with redirect_stderr(io.StringIO()):  # its progress bar
        vectors: Array = create_embeddings(_States(model), sequences, device, model.config.padding_id)
    model.to("cpu")
    return vectors.astype(np.float32)


class _States(nn.Module):
    """An encoder that answers as models of `transformers` do: with the last states of all tokens."""

    def __init__(self, model: Encoder) -> None:
        super().__init__()
        self.model = model

    @property
    def device(self) -> torch.device:
        return self.model.classifier.weight.device

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> SimpleNamespace:
        states = self.model.embed(input_ids, attention_mask, token_type_ids)
        for layer in self.model.layers:
            states = layer(states, attention_mask, states.shape[1])
        return SimpleNamespace(last_hidden_state=states)


def _set_classifier(static: Candidate, ridge: float, context: Context) -> float:
    """Set the classifier to what comes nearest to the teacher's logits; the share of texts with the same answer."""
    model = static.encoder
    tokens = tokenize(static.tokenizer, context.train.texts)
    pooled = []
    for start in range(0, len(context.train), BATCH):
        rows = np.arange(start, min(start + BATCH, len(context.train)))
        batch = tokens.batch(rows, model.config.padding_id, "cpu")
        pooled.append(model.outputs(batch.input_ids, batch.attention_mask, batch.token_type_ids).pooled)
    states = torch.cat(pooled).double().numpy()
    wanted = np.asarray(context.teacher.outputs(context.train.texts).logits, np.float64)
    weight, bias, _ = least_squares(states, wanted, [ridge])
    model.classifier.weight.copy_(torch.from_numpy(weight))
    model.classifier.bias.copy_(torch.from_numpy(bias))
    answers = states @ weight.T + bias
    return float((answers.argmax(axis=1) == wanted.argmax(axis=1)).mean())


@hookimpl
def register_strategies() -> list[type[Strategy]]:
    return [Model2Vec]

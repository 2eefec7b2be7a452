"""The teacher: what the fine-tuned model says of a text, computed once and kept on disk in half precision."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from eicompress.cache import Cache
from eicompress.contracts import Array, Candidate, Examples, Fit, Task, TeacherOutputs, Training
from eicompress.encoder.model import Encoder
from eicompress.encoder.precision import fast_products, moved
from eicompress.encoder.tokens import Batch, in_order_of_length, tokenize
from eicompress.values import Progress, Text

SHARD = 2048
"""Texts whose outputs are computed and stored together: an interruption loses no more than these."""
FINETUNE_EPOCHS = 4.0
FINETUNE_LEARNING_RATE = 5e-5
PROBE_ITERATIONS = 200
PROBE_PENALTY = 2e-2
"""Of the sum of the probe's squared weights, on standardized states."""


def text_key(text: Text) -> bytes:
    """What a text is remembered by: 16 bytes of its content."""
    joined = text if isinstance(text, str) else "\x1f".join(text)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass(frozen=True)
class Answers:
    """What a teacher said so far: shards of arrays, and where each text's answer lies, as (shard, row)."""

    shards: list[Mapping[str, Array]] = field(default_factory=list, repr=False)
    places: dict[bytes, tuple[int, int]] = field(default_factory=dict, repr=False)

    def add(self, keys: Sequence[bytes], arrays: Mapping[str, Array]) -> None:
        self.places.update((key, (len(self.shards), row)) for row, key in enumerate(keys))
        self.shards.append(arrays)

    def gather(self, keys: Sequence[bytes]) -> TeacherOutputs:
        """The answers to texts that are all known, in their order."""
        places = np.array([self.places[key] for key in keys])
        gathered = {}
        for name in ("logits", "states"):
            first = self.shards[0][name]
            gathered[name] = np.empty((len(keys), first.shape[1]), first.dtype)
            for shard in np.unique(places[:, 0]):
                here = places[:, 0] == shard
                gathered[name][here] = self.shards[shard][name][places[here, 1]]
        return TeacherOutputs(**gathered)


@dataclass(frozen=True)
class EncoderTeacher:
    """An encoder as the teacher. `digest` names its weights and tokenizer."""

    candidate: Candidate
    digest: str
    cache: Cache
    device: str
    progress: Callable[[Progress], None]
    answers: Answers = field(default_factory=Answers)

    def outputs(self, texts: Sequence[Text]) -> TeacherOutputs:
        keys = [text_key(text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.answers.places}
        shards = [list(missing.items())[start : start + SHARD] for start in range(0, len(missing), SHARD)]
        for number, shard in enumerate(shards):
            self._learn(dict(shard))
            self.progress(Progress("teacher", number + 1, len(shards)))
        return self.answers.gather(keys)

    def _learn(self, shard: Mapping[bytes, Text]) -> None:
        def compute() -> dict[str, Array]:
            logits, states = answers_of(self.candidate, list(shard.values()), self.device)
            return {"logits": logits, "states": states}

        key = ["logits, states", self.digest, [each.hex() for each in shard]]
        self.answers.add(list(shard), self.cache.arrays("teacher", key, compute))


@torch.inference_mode()
def answers_of(candidate: Candidate, texts: Sequence[Text], device: str) -> tuple[Array, Array]:
    """Logits (n, outputs) and pooled states (n, hidden) of texts, in half precision."""
    model = candidate.model
    assert isinstance(model, Encoder)
    tokens = tokenize(candidate.tokenizer, texts)
    logits = np.empty((len(texts), model.config.outputs), np.float16)
    states = np.empty((len(texts), model.config.hidden), np.float16)
    with moved(model.eval(), device):
        for rows in in_order_of_length(tokens.lengths):
            batch = tokens.batch(rows, model.config.padding_id, device)
            with fast_products(device):
                output = model.outputs(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            logits[rows] = output.logits.float().cpu().numpy()
            states[rows] = output.pooled.float().cpu().numpy()
    return logits, states


def with_trained_head(candidate: Candidate, task: Task, train: Examples, how: str, fit: Fit, device: str) -> Candidate:
    """A teacher made of a model that has no head for the task.

    "probe" fits a linear classifier to the frozen mean states; "finetune" trains all weights on the labels, with
    the first token's state under the head.
    """
    model = candidate.model
    assert isinstance(model, Encoder)
    if how == "probe":
        model.pool_by_mean()
        model.drop_pooler()
        _fit_probe(candidate, task, train, device)
        return candidate
    targets = torch.from_numpy(train.targets)

    def loss(batch: Batch) -> torch.Tensor:
        logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        return task.loss(logits, targets[batch.rows.cpu()].to(device))

    fit(candidate, Training(train.texts, loss, FINETUNE_EPOCHS, FINETUNE_LEARNING_RATE))
    return candidate


def _fit_probe(candidate: Candidate, task: Task, train: Examples, device: str) -> None:
    """Logistic regression on standardized states, by L-BFGS; the scaling is folded into the classifier."""
    model = candidate.model
    assert isinstance(model, Encoder)
    states = torch.from_numpy(answers_of(candidate, train.texts, device)[1].astype(np.float32))
    targets = torch.from_numpy(train.targets)
    mean, deviation = states.mean(dim=0), states.std(dim=0).clamp_min(1e-6)
    scaled = (states - mean) / deviation
    weight = torch.zeros(model.config.outputs, states.shape[1], requires_grad=True)
    bias = torch.zeros(model.config.outputs, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=PROBE_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = task.loss(scaled @ weight.T + bias, targets) + PROBE_PENALTY * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        model.classifier.weight.copy_(weight / deviation)
        model.classifier.bias.copy_(bias - (weight / deviation) @ mean)

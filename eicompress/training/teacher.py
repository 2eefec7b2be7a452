"""One or several teachers: logits and states of fine-tuned models, computed once for each text and kept on disk."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import islice
from typing import Protocol

import numpy as np
import torch

from eicompress.answers import TeacherOutputs
from eicompress.answers.teacher_outputs import joined
from eicompress.cache import Cache, arrays_in
from eicompress.contracts import Array, Candidate, Examples, Task, Teacher
from eicompress.encoder.device import fast_products, moved
from eicompress.encoder.tokens import tokenize
from eicompress.values import Progress, Text, digest_of, seed_of

SHARD = 2048
"""Texts whose outputs are computed and stored together: an interruption loses no more than these."""
HELD_OUT = 1000
"""Validation texts on which the weights of an ensemble are measured, at most."""


def ignore(_: Progress) -> None:
    """Ignore progress."""


def text_key(text: Text) -> bytes:
    """The key of a text in the store: 16 bytes of the digest of its content."""
    joined = text if isinstance(text, str) else "\x1f".join(text)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass(frozen=True)
class Answers:
    """A teacher's stored outputs in shards, and where each text's lie, as (shard, row)."""

    shards: list[TeacherOutputs] = field(default_factory=list, repr=False)
    places: dict[bytes, tuple[int, int]] = field(default_factory=dict, repr=False)

    def add(self, keys: Sequence[bytes], arrays: Mapping[str, Array]) -> None:
        self.places.update((key, (len(self.shards), row)) for row, key in enumerate(keys))
        self.shards.append(TeacherOutputs(**{each.name: arrays[each.name] for each in fields(TeacherOutputs)}))

    def gather(self, keys: Sequence[bytes]) -> TeacherOutputs:
        """The outputs for texts that are all known, in their order."""
        shards, rows = np.array([self.places[key] for key in keys]).T
        used: list[int] = np.unique(shards).tolist()
        if len(used) == 1:
            return self.shards[used[0]].take(rows)
        found = joined([self.shards[shard].take(rows[shards == shard]) for shard in used])
        return found.take(np.argsort(np.argsort(shards, kind="stable")))


class Answer(Protocol):
    """Logits (n, outputs) and states (n, width) of texts in half precision; where each word is answered, logits
    (n, W, outputs) or (n, 1 + W, outputs) and states of no width.

    `progress` is called with the number of texts read since its last call.
    """

    def __call__(self, texts: Sequence[Text], progress: Callable[[int], None], /) -> tuple[Array, Array]: ...


@dataclass(frozen=True)
class StoredTeacher:
    """A model whose answers are kept."""

    answer: Answer
    digest: str
    """The digest of its weights and tokenizer."""
    code: str
    """The digest of the code that computes its outputs."""
    aligned: bool
    """Whether its states are the baseline's own."""
    cache: Cache
    progress: Callable[[Progress], None] = ignore
    answers: Answers = field(default_factory=Answers)
    word_outputs: int = 0
    """How many of its outputs, the last ones, answer words."""

    def watched(self, progress: Callable[[Progress], None]) -> "StoredTeacher":
        """The same teacher with another receiver of its progress."""
        return replace(self, progress=progress)

    def outputs(self, texts: Sequence[Text]) -> TeacherOutputs:
        if not self.answers.shards:
            self._recall()
        keys = [text_key(text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.answers.places}
        left = iter(missing.items())
        for done in range(0, len(missing), SHARD):
            self._learn(dict(islice(left, SHARD)), done, len(missing))
        return self.answers.gather(keys)

    def _recall(self) -> None:
        """Load the outputs that any process has stored before."""
        for entry in self.cache.entries(self._kind):
            arrays = arrays_in(entry)
            self.answers.add([key.tobytes() for key in np.asarray(arrays["keys"])], arrays)

    def _learn(self, shard: Mapping[bytes, Text], done: int, whole: int) -> None:
        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.progress(Progress("teacher", done, whole))

        def compute() -> dict[str, Array]:
            outputs = TeacherOutputs.of(*self.answer(list(shard.values()), advance), self.word_outputs)
            return {"keys": np.frombuffer(b"".join(shard), np.uint8).reshape(len(shard), -1), **vars(outputs)}

        self.answers.add(list(shard), self.cache.arrays(self._kind, [each.hex() for each in shard], compute))

    @property
    def _kind(self) -> str:
        return f"teacher-{digest_of([self.digest, self.code])}"


@dataclass(frozen=True)
class Ensemble:
    """Several teachers as one. Its states are theirs, side by side.

    "mean" is the mean of their logits, which is the geometric mean of what they predict (arXiv 1503.02531, section 2).
    "weighted" weighs each by its quality on `held_out`, as independent voters deserve: by the logarithm of the odds
    that it is right, set against a guess. "best" takes, for each text, the logits of the teacher that is surest of it.
    """

    teachers: tuple[StoredTeacher, ...]
    how: str
    task: Task
    held_out: Examples
    """Labelled texts that the teachers were not trained on."""

    @property
    def digest(self) -> str:
        return digest_of([self.how, [each.digest for each in self.teachers]])

    @property
    def aligned(self) -> bool:
        return False

    def watched(self, progress: Callable[[Progress], None]) -> "Ensemble":
        """The same teachers with another receiver of their progress."""
        return replace(self, teachers=tuple(each.watched(progress) for each in self.teachers))

    def outputs(self, texts: Sequence[Text]) -> TeacherOutputs:
        outputs = [each.outputs(texts) for each in self.teachers]
        lots = (np.arange(start, min(start + SHARD, len(texts))) for start in range(0, len(texts), SHARD))
        return joined([self._as_one([each.take(rows) for each in outputs]) for rows in lots])

    def _as_one(self, outputs: Sequence[TeacherOutputs]) -> TeacherOutputs:
        logits = stacked([each.logits for each in outputs])
        if self.how == "best":
            chosen = logits[_surest(logits), np.arange(logits.shape[1])]
        else:
            weights = self.weights if self.how == "weighted" else np.full(len(outputs), 1 / len(outputs))
            chosen = np.tensordot(weights, logits, axes=1)
        states = np.concatenate([each.states for each in outputs], axis=1)
        return TeacherOutputs.of(chosen.astype(np.float16), states, outputs[0].of_words.shape[1])

    @cached_property
    def weights(self) -> Array:
        """(teachers,) adding up to one; equal ones where none is better than a guess."""
        odds = []
        for each in self.teachers:
            logits = each.outputs(self.held_out.texts).logits.astype(np.float32)
            right, count = float(self.task.correct(logits, self.held_out.targets).sum()), len(self.held_out)
            share = (right + 1) / (count + 2)  # nobody is always right
            odds.append(max(0.0, np.log(share / (1 - share)) + np.log(max(1, logits.shape[1] - 1))))
        whole = sum(odds)
        return np.array(odds) / whole if whole else np.full(len(odds), 1 / len(odds))


def held_out(validation: Examples, seed: int) -> Examples:
    """The validation examples, at most `HELD_OUT`, drawn with the seed.

    On training examples a teacher that learned them by heart would look best. The few numbers that are chosen by them
    are chosen on the validation split, as everything else in a search is; the test split has no part in it.
    """
    rows = np.random.default_rng(seed_of(seed, "held out")).permutation(len(validation))[:HELD_OUT]
    return validation.take(np.sort(rows).tolist())


def stacked(logits: Sequence[Array]) -> Array:
    """(teachers, n, outputs), or (teachers, n, W, outputs), in single precision."""
    widest = max(each.shape[1] for each in logits)
    found = np.zeros((len(logits), len(logits[0]), widest, *logits[0].shape[2:]), np.float32)
    for kept, each in zip(found, logits, strict=True):
        kept[:, : each.shape[1]] = each
    return found


def _surest(logits: Array) -> Array:
    """(n,) which of the teachers' logits (teachers, n, outputs) have the least entropy, text by text."""
    shifted = logits - logits.max(axis=2, keepdims=True)
    odds = np.exp(shifted)
    whole = odds.sum(axis=2)
    entropy = np.log(whole) - (odds * shifted).sum(axis=2) / whole
    surest: Array = entropy.argmin(axis=0)
    return surest


def encoder_teacher(
    candidate: Candidate, digest: str, code: str, cache: Cache, device: str, aligned: bool
) -> StoredTeacher:
    """An encoder as a teacher: the baseline, which is aligned with itself, or another."""

    config = candidate.encoder.config

    def answer(texts: Sequence[Text], progress: Callable[[int], None]) -> tuple[Array, Array]:
        return answers_of(candidate, texts, device, progress, states=not config.per_word)

    return StoredTeacher(answer, digest, code, aligned, cache, word_outputs=config.word_outputs)


@torch.inference_mode()
def answers_of(
    candidate: Candidate,
    texts: Sequence[Text],
    device: str,
    progress: Callable[[int], None] = lambda _: None,
    *,
    states: bool = True,
) -> tuple[Array, Array]:
    """An encoder's logits (n, outputs) and pooled states (n, hidden) of texts, in half precision; (n, W, outputs) and
    (n, W, hidden) where each word is answered, with zeros for one that was not read. Without `states` they are of no
    width, (n, 0): those of words are many."""
    model = candidate.encoder
    tokens = tokenize(candidate.tokenizer, texts, reads=model.config.reads)
    logits = np.zeros(tokens.of_answers(model.config.outputs), np.float16)
    pooled = np.zeros(tokens.of_features(model.config.hidden) if states else (len(texts), 0), np.float16)
    with moved(model.eval(), device):
        for rows in tokens.in_order():
            batch = tokens.batch(rows, model.config.padding_id, device)
            with fast_products(device):
                output = model.outputs(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            found = batch.answers(output.logits).float().cpu().numpy()
            logits[rows, : found.shape[1]] = found
            if states:
                features = batch.features(output.pooled).float().cpu().numpy()
                pooled[rows, : features.shape[1]] = features
            progress(len(rows))
    return logits, pooled


@dataclass(frozen=True)
class TeacherBefore:
    """What stands before a teacher: it answers as that one, in its own way."""

    teacher: Teacher

    @property
    def digest(self) -> str:
        return self.teacher.digest

    @property
    def aligned(self) -> bool:
        return self.teacher.aligned


class LazyAnswers:
    """A teacher's outputs for the n texts of a training, zeros for those that were not asked for yet; kept in the
    precision and the form in which they are stored."""

    def __init__(self, teacher: Teacher, texts: Sequence[Text]) -> None:
        self.teacher, self.texts = teacher, texts
        first = teacher.outputs(texts[:1])
        states = np.zeros_like(first.states)
        nothing = TeacherOutputs(np.zeros_like(first.of_texts), first.of_words[:0], np.zeros_like(first.counts), states)
        self.outputs = joined([nothing, first])
        self.places = np.zeros(len(texts), np.int64)
        """(n,) which of the outputs are those for a text; 0 where it was not asked for yet."""
        self.places[0] = 1

    def ask(self, rows: Array) -> None:
        new = np.asarray(rows)[self.places[rows] == 0]
        if len(new):
            self.places[new] = len(self.outputs.counts) + np.arange(len(new))
            self.outputs = joined([self.outputs, self.teacher.outputs([self.texts[row] for row in new])])

    @property
    def width(self) -> int:
        """Of the teacher's states."""
        width: int = self.outputs.states.shape[1]
        return width

    def logits(self, rows: Array) -> torch.Tensor:
        """(m, outputs) in single precision; where words are answered (m, W, outputs), or (m, 1 + W, outputs)."""
        return torch.from_numpy(self._of(rows).logits.astype(np.float32))

    def states(self, rows: Array) -> torch.Tensor:
        """(m, width) in single precision."""
        return torch.from_numpy(self._of(rows).states.astype(np.float32))

    def _of(self, rows: Array) -> TeacherOutputs:
        return self.outputs.take(self.places[rows])

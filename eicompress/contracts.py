"""The contracts of strategies and tasks, with their arguments (Candidate, Context).

A strategy is a frozen dataclass of its knobs with one verb, `apply`. A knob is a field annotated with one of
Optuna's distributions, which is its valid domain, and with a default:

    @dataclass(frozen=True)
    class HeadPruning(ModelStrategy):
        name: ClassVar[str] = "head_pruning"
        share: Annotated[float, FloatDistribution(0.1, 0.9)] = 0.5

Constructors check nothing; `Recipe` checks every knob when it is made.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import numpy.typing as npt

from eicompress.answers import Answer, TeacherOutputs
from eicompress.errors import Inapplicable
from eicompress.values import Json, Text

if TYPE_CHECKING:
    import onnx
    import torch
    from tokenizers import Tokenizer

    from eicompress.encoder.model import Encoder
    from eicompress.encoder.tokens import Batch

INTERFACE = 1
"""The version of the interface in this file and `hookspecs`: a change that breaks plug-ins raises it. A plug-in's
module may state the version that it uses, `EICOMPRESS_INTERFACE = 1`."""

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Examples:
    """Inputs with their targets, as a task read them.

    `targets` has one row an example; its shape and type are the task's own business.
    """

    texts: tuple[Text, ...]
    targets: Array
    outside: tuple[Text, ...] = ()
    """Texts beside these that have no answer, where the data have some."""

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def all_texts(self) -> tuple[Text, ...]:
        return (*self.texts, *self.outside)

    def take(self, rows: Sequence[int]) -> "Examples":
        return Examples(tuple(self.texts[row] for row in rows), self.targets[list(rows)], self.outside)


class Task(ABC):
    """Texts and labels in, loss and quality out. Never token ids: a candidate has a vocabulary of its own."""

    name: ClassVar[str]
    qualities: ClassVar[tuple[str, ...]] = ()
    """Names of the qualities of which a search may maximise one (`--quality`), where there are several: the task is
    then a dataclass with the field `quality`."""
    columns: ClassVar[tuple[str, ...]]
    """Columns that a data set must have, by role: `text` and `text_pair` are read, `label` and others are learned."""
    may_have: ClassVar[tuple[str, ...]] = ()
    """Roles of optional columns, which are read if the data have them."""

    example: "ClassVar[Sequence[Json]]" = ()
    """Rows, their cells by role, with which `eicompress.testing` tries it, where texts with a word or a number as label
    do not suit it."""

    @classmethod
    @abstractmethod
    def read(
        cls, splits: Mapping[str, Sequence[Json]], columns: Mapping[str, str]
    ) -> "tuple[Task, dict[str, Examples]]":
        """The task that the rows of `train` define, and every split as examples. Raises `DataError`."""

    @classmethod
    def columns_in(cls, row: Json, columns: Mapping[str, str]) -> dict[str, str]:
        """Where each role is read, for rows like this one; `columns` are those that the user named."""
        found = {role: columns.get(role, role) for role in cls.columns}
        there = {role: columns.get(role, role) for role in cls.may_have}
        return found | {role: name for role, name in there.items() if role in columns or name in row}

    @classmethod
    def refusal(cls, label: object) -> str:
        """The rule that a row's `label` breaks, such as "must be a finite number"; empty if the label is valid."""
        return ""

    @classmethod
    def cell_refusal(cls, role: str, row: Json, columns: Mapping[str, str]) -> str:
        """The rule that a role's cell breaks in its row; by default inputs are texts, and `refusal` judges labels."""
        if role == "label":
            return cls.refusal(row[columns[role]])
        return "" if isinstance(row[columns[role]], str) else "must be text"

    @property
    @abstractmethod
    def quality(self) -> str:
        """Name of the quality that is maximised; a class attribute where the task has only one. Higher is better."""

    @property
    def averaged(self) -> bool:
        """Whether the quality is the mean of `correct`; its intervals are then computed from these values. By default
        where the usual quality of the kind of answer is one."""
        return self.answer.averaged

    def is_share(self, quality: str) -> bool:
        """Whether a quality of this name, the one that is maximised or one beside it, is a share, which is written in
        percent; a correlation is none."""
        return self.answer.quality_is_share

    @property
    @abstractmethod
    def answer(self) -> Answer:
        """The kind of answer of this task's models, from `eicompress.answers`."""

    @property
    def pairs(self) -> bool:
        """Whether examples are pairs of texts, or some of them are."""
        return "text_pair" in self.columns

    @abstractmethod
    def loss(self, logits: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Mean label loss of a batch; logits (B, outputs), or (B, W, outputs) where each word is answered, and targets
        as in `Examples`, which may have more words or fewer."""

    @abstractmethod
    def correct(self, logits: Array, targets: Array) -> Array:
        """Quality of each example, (n,) floats; the mean is the task's quality unless `score` says otherwise."""

    def sized(self, width: int) -> "Task":
        """The task for models with this many outputs, where only they know how many an answer has."""
        return self

    def judged(self, examples: Examples, teacher: "Teacher", validation: Examples) -> Examples:
        """The examples with what the data lacks of their targets: the teacher's answers, or how good these are. What is
        chosen for the teacher, such as a threshold, is chosen on `validation`."""
        return examples

    def without_teacher(self) -> "Task":
        """The task as it is measured where no teacher is known, for one whose quality compares with a teacher's."""
        return self

    def unmeasurable(self, examples: Examples) -> str:
        """The rule that examples break which are to be measured without a teacher; empty where they break none."""
        return ""

    def score(self, logits: Array, targets: Array) -> float:
        """The quality of all predictions, 0 to 1, higher is better."""
        return float(self.correct(logits, targets).mean())

    def best_score(self, logits: Array, targets: Array) -> float:
        """The quality of a model's logits with what is chosen on validation, such as a threshold, chosen on these."""
        if self.answer.adjusts:
            logits = logits + self.answer.adjustment(logits, targets) * logits.any(axis=-1, keepdims=True)
        return self.score(self.answer.tuned(logits, targets, None).decided(logits), targets)

    def difference(self, ours: Array, theirs: Array, targets: Array) -> tuple[float, float] | None:
        """The score of one model's logits less that of another's, and half the width of its 95 % interval, where a task
        has a faster way than to score 2,000 draws of the examples; else None."""
        return None

    def beside(self, logits: Array, targets: Array) -> Mapping[str, float]:
        """Other qualities of all predictions, by name, shown beside the one that is maximised."""
        return {}


@dataclass(frozen=True)
class Origin:
    """Where a candidate's parts came from in the baseline, so that later steps can match student to teacher."""

    layers: tuple[int, ...]
    """For each layer, the baseline's layer it was made from."""
    hidden: tuple[int, ...]
    """For each residual dimension, the baseline's dimension it was made from."""


@dataclass(frozen=True)
class Candidate:
    """A model with its tokenizer, as recipes build it.

    `model` is an `Encoder` until a strategy returns another module with the same inputs.
    """

    model: "torch.nn.Module"
    tokenizer: "Tokenizer"
    origin: Origin
    facts: Mapping[str, Json] = field(default_factory=dict)
    """Results of each strategy, by strategy name; plain JSON values, kept in the record."""
    texts: tuple[Text, ...] = ()
    """Unlabelled texts besides the training rows, on which later steps learn from the teacher."""

    @property
    def encoder(self) -> "Encoder":
        """The model, for whatever reads or edits an encoder. Raises `Inapplicable` where it is another module."""
        from eicompress.encoder.model import Encoder

        if not isinstance(self.model, Encoder):
            raise Inapplicable(
                f"a step that acts on an encoder must get one, but got a `{type(self.model).__name__}`: put it before "
                "the step that replaces the encoder"
            )
        return self.model


@dataclass(frozen=True)
class Training:
    """One training: its texts, its loss and its length.

    `epochs` is the full length: `fit` multiplies it by the trial's fidelity, unless the training is shared.
    """

    texts: Sequence[Text]
    loss: "Callable[[Batch], torch.Tensor]"
    epochs: float
    learning_rate: float
    batch_size: int = 32
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises linearly; it then falls linearly to zero."""
    weight_decay: float = 0.01
    rate_steps: int = 0
    """Steps up to which `learning_rate` is used as given; for n times as many steps it is divided by the square root of
    n. 0 for the same rate at any length."""
    dropout: float = 0.0
    """Share of the values that an encoder's blocks say that are set to zero, other ones at each step."""
    sparse: bool = True
    """Whether `loss` reads the candidate's own word embedding. On a CPU only the rows of a large one that a batch reads
    are then updated."""
    extra: "torch.nn.Module | None" = None
    """A module that is trained beside the candidate and thrown away, such as a projector."""
    rates: "Mapping[torch.nn.Parameter, float]" = field(default_factory=dict)
    """Factors of the learning rate for some parameters, 0 to 1; at 0 they do not change."""
    held_out: Sequence[int] = ()
    """Rows of `texts` that are not trained on. The result has the weights with the lowest loss on them."""
    patience: int = 3
    """The loss on the held-out rows is computed 20 times; after this number without a new minimum the training
    stops.
    """
    prepare: "Callable[[Array], None] | None" = None
    """Called once, before the first step, with the rows of `texts` that the training will use, in rising order, so that
    expensive values, such as a teacher's outputs, are computed for these rows only."""


class Fit(Protocol):
    """The one training loop. Does nothing in a preview."""

    def __call__(self, candidate: Candidate, training: Training, /) -> None: ...


class Teacher(Protocol):
    """The fine-tuned model, or several, that candidates learn from. Outputs are computed once and kept on disk."""

    @property
    def digest(self) -> str: ...

    @property
    def aligned(self) -> bool:
        """Whether the states are the baseline's own, so that `Origin.hidden` maps a student's dimensions to them."""

    def outputs(self, texts: Sequence[Text]) -> TeacherOutputs: ...


class Remember(Protocol):
    """`cache(key, compute)`: arrays that many trials need, computed once for baseline, data and seed."""

    def __call__(self, key: str, compute: Callable[[], Mapping[str, Array]], /) -> Mapping[str, Array]: ...


@dataclass(frozen=True)
class Context:
    """What a strategy may use while it is applied; read-only."""

    task: Task
    train: Examples
    baseline: Candidate
    """The model at the start of every recipe: not to be changed."""
    teacher: Teacher
    fit: Fit
    cache: Remember
    seed: int
    compute_device: str
    """Where torch computes: `cpu` or `cuda`."""
    unlabelled: Iterable[str]
    """Sentences of the `--unlabelled` text, read anew each time; empty if there is none."""
    preview: bool
    """True when only size and latency are measured: `fit` does nothing, and a strategy may skip costly choices of
    weights that change no shape."""


@dataclass(frozen=True)
class TextDomain:
    """The domain of a knob that is a text, where Optuna's distributions have none: a search space names the texts that
    are tried, `{ choices = [...] }`."""

    described: str
    """What a text must be, such as "an expression"."""
    refusal: Callable[[str], str]
    """Why a text is not in the domain; empty for one that is."""


class Strategy(ABC):
    """A compression method: a frozen dataclass whose fields are its knobs."""

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    """Where the method was published, or an empty string."""
    trains: ClassVar[bool] = False
    """True if `apply` calls `fit`: the candidate after it is worth keeping in the cache."""
    shares_training: ClassVar[bool] = False
    """True if one training serves every candidate of a study, as that of a super-network does, which later steps take
    parts of. `fit` then runs at full length whatever the trial's fidelity, in this step and in those before it, and the
    candidate after it is kept without the fidelity in its key. It must be an `Encoder`, and `trains` must be true."""
    example: ClassVar[Mapping[str, Any]] = {}
    """Knobs with which `eicompress.testing` tries it on a tiny model, where the defaults do not suit that."""
    missed: ClassVar[Mapping[str, str]] = {}
    """Claims of `eicompress.testing` that it does not keep, by their texts, each with the reason."""


class ModelStrategy(Strategy):
    """Acts on the candidate, before export. It may edit its argument in place."""

    @abstractmethod
    def apply(self, subject: Candidate, context: Context) -> Candidate:
        """Raises `Inapplicable` where the strategy cannot act."""


class GraphStrategy(Strategy):
    """Acts on the ONNX graph, after export."""

    @abstractmethod
    def apply(self, subject: "onnx.ModelProto", context: Context) -> "onnx.ModelProto":
        """Raises `Inapplicable` where the strategy cannot act."""

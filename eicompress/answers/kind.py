"""The contract of a kind of answer: decoding of logits, their form in a file, and the counting of mistakes.

Logits here are those that a model is trained with. An artifact's are in the user's units: `standard` brings them back.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from eicompress.answers.graph_output import GraphOutput
from eicompress.answers.words import Reads, reads_of
from eicompress.errors import ModelError
from eicompress.values import Json, Text

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Array: TypeAlias = npt.NDArray[Any]
Factors: TypeAlias = float | Floats
"""One for all logits, or (outputs,) one for each."""

TIE = 0.1
"""Of the deviation of all logits: answers as near to each other as that are equally good, since rounding alone may
decide between them, as it often does after a short training."""


class Prediction(ABC):
    """A model's answer to one text, for people."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """As a line of `eicompress predict` shows it."""

    def to_json(self) -> dict[str, Any]:
        """As `eicompress predict --json` prints it."""
        return dict(vars(self))


@dataclass(frozen=True)
class Table:
    """Texts in rows; the last `numeric` columns hold numbers."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: int


@dataclass(frozen=True)
class Curve:
    """One model's points in a chart; `notes` has one for each point, shown when a reader points at it."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Chart:
    """Curves around the diagonal on which an ideal model lies."""

    name: str
    """A name for a file."""
    title: str
    note: str
    x_title: str
    y_title: str
    ideal: str
    """What lies on the diagonal."""
    diagonal: tuple[float, float]
    """Where it begins and ends."""
    joined: bool
    """Whether a curve's points are joined by lines."""
    hover: str
    """The text that appears over a point, a format of plotly: `%{x}`, `%{y}`, and `%{customdata}` for its note."""
    baseline: Curve
    artifact: Curve


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: how many texts of each label, a row, got each answer, a column."""

    note: str
    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Mistakes:
    """Artifact and baseline on the same validation texts."""

    summary: str
    interval: float
    """Half the width of the 95 % interval of the difference in quality, the same texts having been read by both."""
    shares: bool
    """Whether the quality is the share of answers that are right."""
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]
    matrix: Matrix | None = None
    """None for an answer without classes."""


class Answer(ABC):
    """The answer of a task's models: a frozen value of one kind, with everything to decode it."""

    kind: ClassVar[str]
    pipeline: ClassVar[str]
    """The name of this task on the hub and in `transformers`."""
    architecture: ClassVar[str] = "SequenceClassification"
    """How the classes of `transformers` end whose models answer so, such as `BertForSequenceClassification`."""
    simplest: ClassVar[str]
    """The name of the simplest baseline, which runs no model."""
    simplest_note: ClassVar[str] = "one answer for every text"
    """What it does."""
    linear: ClassVar[str]
    """The name of the method of linear models of this kind."""
    head: ClassVar[str]
    """The name of a head of this kind."""
    model: ClassVar[str]
    """The name of a model of this kind, after "a text"."""
    limit: ClassVar[str]
    """A warning for the model card."""
    browser: ClassVar[str]
    """How transformers.js runs it, in Markdown."""
    surest: ClassVar[bool]
    """Whether logits give a confidence, by which teachers can be weighted."""
    ranks: ClassVar[bool] = False
    """Whether a text's labels can be put in the order of their probabilities, as `choices` does."""
    quality_is_share: ClassVar[bool]
    """Whether qualities are shares, which are written in percent; a correlation is none."""
    adjusts: ClassVar[bool] = False
    """Whether a trained model's classifier is changed for the best quality on validation (`adjustment`)."""
    tuned_on_validation: ClassVar[bool] = False
    """Whether something of an artifact's answers, such as a threshold, is chosen for it on the validation split."""
    may_reject: ClassVar[bool] = False
    """Whether a prediction may be that a text has no answer, if that is asked for."""
    windowed: ClassVar[bool] = False
    """Whether an input is a question with a context that is read in windows, however long it is."""
    probed: ClassVar[bool] = True
    """Whether the search for a teacher begins with a linear classifier of frozen states."""
    unit: ClassVar[bool] = False
    """Whether the answer is a vector of length one, made of the state that the head reads: a model without a head then
    answers too, and nothing is to be trained first."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the model's outputs, in their order."""

    @property
    def outputs(self) -> int:
        """How many outputs the head has."""
        return len(self.names)

    @property
    def word_outputs(self) -> int:
        """How many of the outputs, the last ones, answer each word of a text; the others answer the text.

        With none, logits are (n, outputs). Where all do, they are (n, W, outputs), W words of the text that has most,
        with zeros where a word was not read and behind a text's last one; of a question with its context these are no
        answer, and the words of the context, (n, 1 + W, 2). Where some do, they are (n, 1 + W, outputs): the text, and
        its words, each with zeros at the outputs of the other. Below, `outputs` stands for all of these.
        """
        return 0

    @property
    def reads(self) -> Reads:
        return reads_of(self.outputs, self.word_outputs)

    @property
    def per_word(self) -> bool:
        """Whether a text has an answer for each of its words."""
        return self.word_outputs > 0

    @property
    def graph_outputs(self) -> Mapping[str, GraphOutput]:
        """The outputs of an ONNX file, by name."""
        return {"logits": GraphOutput(self.outputs, self.per_word)}

    @property
    def averaged(self) -> bool:
        """Whether the quality is a mean over texts of values from 0 to 1; F1 of labels and correlations are not."""
        return False

    @property
    def mixed(self) -> bool:
        """Whether some inputs are texts and others pairs of texts."""
        return False

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """All of it, `kind` included, for `from_json`."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The entries of `config.json`, named as in `transformers`; `of_config` reads them."""

    @abstractmethod
    def decode(self, logits: Floats, texts: Sequence[Text]) -> Sequence[Prediction]:
        """(n, outputs) of n texts -> n answers for people."""

    def choices(self, logits: Floats, texts: Sequence[Text], count: int) -> Sequence[Sequence[Prediction]]:
        """(n, outputs) -> for each of n texts its likeliest labels, at most `count`, the likeliest first; its answer
        where the kind does not rank labels (`ranks`)."""
        return [(each,) for each in self.decode(logits, texts)]

    def standard(self, logits: Floats) -> Floats:
        """Logits (n, outputs) of an artifact -> as the model that was trained gave them."""
        return logits

    def decided(self, logits: Floats) -> Floats:
        """Logits (n, outputs) of a model -> with its threshold at zero, where it has one."""
        return logits

    @property
    def a_model(self) -> str:
        """`a classifier`, `an embedder`."""
        return f"{'an' if self.model[0] in 'aeiou' else 'a'} {self.model}"

    def adjustment(self, logits: Floats, targets: Array) -> Floats:
        """(outputs,) what is to be added to a model's logits of validation texts for the best quality: post-hoc logit
        adjustment, arXiv 2007.07314."""
        return np.zeros(self.outputs, np.float32)

    def tuned(self, logits: Floats, targets: Array, outside: Floats | None) -> "Answer":
        """This answer with what is chosen for an artifact by its logits (n, outputs) of validation texts; `outside` has
        those of texts (m, outputs) that have no answer, None where there are none."""
        return self

    def like(self, artifact: "Answer") -> "Answer":
        """This answer with what was chosen for an artifact, whose own answer is given."""
        return self

    def rejected(self, found: Prediction) -> Prediction:
        """The prediction, or that the text has no answer, by the threshold that was chosen. Raises `ModelError` without
        one."""
        raise ModelError(f"`--reject` must be asked of a model of labels, but this one is {self.a_model}: leave it out")

    def of_outside(self, logits: Floats, targets: Array, outside: Floats) -> Mapping[str, float]:
        """How well texts that have no answer are rejected, from logits (n, outputs) and (m, outputs)."""
        return {}

    @abstractmethod
    def outputs_of(self, known: "Answer | None") -> tuple[int, ...] | None:
        """Which outputs of a model that answers `known` are this answer's, in its order; None where one is missing."""

    @abstractmethod
    def mismatch(self, who: str, known: "Answer | None") -> str:
        """What `who`, a model that answers `known`, must answer and does not, with what to do."""

    def rescaling(self, known: "Answer") -> "tuple[Factors, Factors] | None":
        """What logits of a model that answers `known` are multiplied by, and what is then added; None for neither."""
        return None

    @property
    def scale(self) -> "tuple[Factors, Factors] | None":
        """What an artifact multiplies its logits by, and then adds to them; None for neither."""
        return None

    @property
    @abstractmethod
    def described(self) -> str:
        """A section of the model card in Markdown: what it answers."""

    @abstractmethod
    def holds(self, targets: Array) -> bool:
        """Whether targets have this kind's own form; a task may have targets of another one."""

    def strata(self, targets: Array) -> Array:
        """(n,) numbers of the rows by which they are put in order, so that parts of them have each label's share; all
        are alike where a row has more than one target."""
        return targets if targets.ndim == 1 else np.zeros(len(targets), np.int64)

    @abstractmethod
    def simplest_logits(self, known: Sequence[Text], targets: Array, texts: Sequence[Text]) -> Floats:
        """(n, outputs) of n texts: what the simplest baseline answers, from texts whose targets are known."""

    @abstractmethod
    def agrees(self, expected: Floats, got: Floats) -> npt.NDArray[np.bool_]:
        """For each answer, whether that of one set of logits (n, outputs) is as good as the other's, by the first."""

    def rounding(self) -> float:
        """By how much single precision may change a logit on its way through an artifact's units."""
        return 0.0

    def readable_rows(self, rows: Sequence[Json], columns: Mapping[str, str], origin: str) -> Sequence[Json]:
        """Rows that define a task with this answer, for rows that are to be measured under it, by default these;
        `columns` by role.

        Raises `DataError` where one of them has a label that is no such answer.
        """
        return rows

    @abstractmethod
    def difference(self, targets: Array, ours: Floats, theirs: Floats) -> tuple[float, float]:
        """The quality of one model's logits (n, outputs) less that of another's, and half the width of its 95 %
        interval, the same texts having been read by both."""

    @abstractmethod
    def mistakes(self, texts: Sequence[Text], targets: Array, baseline: Floats, artifact: Floats) -> Mistakes:
        """The mistakes of an artifact, from both sets of logits (n, outputs) and the targets."""


def joined(text: Text) -> str:
    """A text, or both of a pair, in one line."""
    return text if isinstance(text, str) else " | ".join(text)


def id2label(names: Sequence[str]) -> Mapping[str, str]:
    """Names of outputs as a `config.json` has them."""
    return {str(number): name for number, name in enumerate(names)}

"""The values that travel between rooms: frozen, plain, without torch."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

Text: TypeAlias = str | tuple[str, str]
"""One input of a model: a text, or a pair of texts."""

Json: TypeAlias = Mapping[str, Any]

MEGABYTE = 1_000_000
INPUTS = ("text", "text_pair")
"""The roles of columns that a model reads; those of any other role are learned."""
SIMPLE = "simple"
"""The fact by which a record says that it is that of a simple baseline: its `name`, and a `note` of what it is."""

TRAINING, VALIDATION = "full training", "validation texts"
"""What a fidelity is a share of."""

ADJUSTMENT = "adjustment"
"""The fact of what was added to the logits of a trained model for the best quality on validation, by output."""

SHARED: Final = "shared training"
"""The phase in which a training that serves other candidates too is made or waited for, and the fact by which a record
says which one its candidate was made of: its `key` in the cache, and how many `steps` of the recipe lead up to it."""


def readable(text: str) -> str:
    """The text with lone surrogates replaced: JSON can hold them, and no tokenizer reads them."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def label_refusal(name: object) -> str:
    """The rule that a label which is a text breaks; empty if it breaks none. A label is printed in a column, so a tab,
    a line break or an escape sequence in it would be read as another one; a lone surrogate cannot be printed."""
    broken = isinstance(name, str) and any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in name)
    return "must be one line without tabs, control characters or lone surrogates" if broken else ""


def parsed_json(text: str) -> Any:
    """The value of a JSON text. Raises `ValueError`, also for what Python does not read: numbers of thousands of
    digits, and brackets within brackets without end."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        raise ValueError("a number has thousands of digits") from error
    except RecursionError as error:
        raise ValueError("brackets lie too deep within brackets") from error


def counted(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number} {noun}" + "s" * (number != 1)


def digest_of(value: object) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a JSON-able value, keys sorted."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seed_of(*parts: object) -> int:
    """A 31-bit seed made from a seed and what it is for: equal parts, equal seed."""
    return int(digest_of([str(part) for part in parts]), 16) & 0x7FFFFFFF


@dataclass(frozen=True)
class Artifact:
    """The folder that a device gets. Beside it lie its manifest, `<folder>.manifest.json`, and its model card,
    `<folder>.README.md`: no bytes of its own."""

    folder: Path

    @property
    def manifest(self) -> Path:
        return self.folder.with_name(self.folder.name + ".manifest.json")

    @property
    def card(self) -> Path:
        return self.folder.with_name(self.folder.name + ".README.md")

    @property
    def onnx(self) -> Path:
        return self.folder / "onnx" / "model.onnx"

    @property
    def size_bytes(self) -> int:
        """Bytes of every file in the folder."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    @property
    def size_mb(self) -> float:
        return self.size_bytes / MEGABYTE


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


@dataclass(frozen=True)
class ExitRule:
    """When a text skips the rest of a model: at the first off-ramp whose confidence is above the threshold.

    The confidence is, 0 to 1, by criterion: "entropy": one less the entropy of the probabilities, as a share of the
    largest possible one. "margin": the difference of the two largest probabilities. "patience": the number of answers
    in a row that are the same, as a share of all answers, those of the off-ramps and of the head.
    """

    after: tuple[int, ...]
    """How many layers stand before each off-ramp."""
    layers: int
    """Of the whole model."""
    criterion: Literal["entropy", "margin", "patience"]
    threshold: float
    """0 to 1; at 1 no text exits."""

    @property
    def exits(self) -> bool:
        """Whether any text may exit."""
        return self.threshold < 1

    def to_json(self) -> dict[str, Any]:
        """The threshold as a text of always the same length, so that a preview has as many bytes as the result."""
        return {
            "after": list(self.after),
            "layers": self.layers,
            "criterion": self.criterion,
            "threshold": f"{self.threshold:.6f}",
        }

    @classmethod
    def from_json(cls, value: object) -> "ExitRule":
        """Raises `ValueError`, which says what must hold."""
        known = value if isinstance(value, Mapping) else {}
        after, layers, criterion = (known.get(name) for name in ("after", "layers", "criterion"))
        threshold = known.get("threshold")
        if not (isinstance(layers, int) and isinstance(after, list) and all(isinstance(each, int) for each in after)):
            raise ValueError("must name `layers`, and numbers of them in `after`")
        if criterion not in ("entropy", "margin", "patience"):
            raise ValueError(f"must have a `criterion` of entropy, margin and patience, but has {criterion!r:.40}")
        if not (isinstance(threshold, str) and _is_share(threshold)):
            raise ValueError(f"must have a `threshold` from 0 to 1, but has {threshold!r:.40}")
        return cls(tuple(after), layers, criterion, float(threshold))


@dataclass(frozen=True)
class ExitPoint:
    """What an artifact does at a threshold, on the same texts as at the others."""

    threshold: float
    quality: float
    mean_ms: float
    layers: float
    """Layers that a text runs through, on average."""
    own: bool
    """Whether this is the artifact's own threshold."""


@dataclass(frozen=True)
class Measurement:
    """A metric's value with its unit and the conditions under which it was taken."""

    name: str
    value: float
    unit: str
    conditions: Json = field(default_factory=dict)


Direction: TypeAlias = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Quantity:
    """The description of a metric's number, stored in the study, so that reading it later needs no plug-in."""

    name: str
    unit: str
    direction: Direction
    label: str
    """Its name in tables and figures."""
    preview: bool
    """Whether previews measure it, so that no training changes it much."""

    @property
    def title(self) -> str:
        """The head of a column: `size MB`."""
        return f"{self.label} {self.unit}".strip()

    @property
    def axis(self) -> str:
        """The title of an axis: `size, MB`."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    def text(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:.4g} {self.unit}".strip()


Phase: TypeAlias = Literal["preview", "teacher", "shared training", "training", "export", "measuring"]


@dataclass(frozen=True)
class Progress:
    """The current phase, at step `step` of `steps`, with the loss while training."""

    phase: Phase
    step: int = 0
    steps: int = 0
    loss: float | None = None
    note: str = ""
    """What the user should know before the phase begins, such as the longest time that it may take."""


Outcome: TypeAlias = Literal["complete", "stopped early", "over budget", "inapplicable", "failed"]


@dataclass(frozen=True)
class Rung:
    """One of a trial's trainings, or scorings: its share of the whole, and what it came to."""

    fidelity: float
    quality: float
    seconds: float


@dataclass(frozen=True)
class Record:
    """Everything that is stored of one trial, or of one rebuild of a recipe.

    Values that a search decides by have fields of their own. `facts` has further results of strategies and
    measurements.
    """

    recipe: tuple[Json, ...]
    draw: int
    outcome: Outcome
    reason: str = ""
    key: str = ""
    fidelity: float = 1.0
    """The share of `whole`."""
    seed: int = 0
    trained: bool = False
    only_shared: bool = False
    """Whether all of its training is shared with others, so that its fidelity says on how much it was scored."""
    repeat_of: int | None = None
    """The earlier trial whose record was taken over."""
    variant_of: int | None = None
    """The earlier trial whose training it shares."""
    rungs: tuple[Rung, ...] = ()
    """Its trainings, or scorings, the shortest first, where the search has rungs."""
    recorded_s: float | None = None
    """Seconds of the study's time after which it was recorded."""
    measurements: tuple[Measurement, ...] = ()
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    """The metrics that could not be measured, by name, and why not."""
    bytes_by_group: Mapping[str, int] = field(default_factory=dict)
    seconds_by_phase: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Json] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> str:
        """What its fidelity is a share of."""
        return VALIDATION if self.only_shared else TRAINING

    def value(self, name: str) -> float | None:
        """The measured value of a metric, or None where it was not taken."""
        return next((each.value for each in self.measurements if each.name == name), None)

    @property
    def own_seconds(self) -> float:
        """Seconds that this candidate took, without a training that it shares with others."""
        return sum(seconds for phase, seconds in self.seconds_by_phase.items() if phase != SHARED)

    def with_measured(self, found: Iterable[Measurement], unmeasured: Mapping[str, str]) -> "Record":
        """The record with these measurements, instead of those that it has of the same metrics."""
        found = tuple(found)
        names = {each.name for each in found} | {*unmeasured}
        kept = tuple(each for each in self.measurements if each.name not in names)
        missing = {name: why for name, why in self.unmeasured.items() if name not in names}
        return replace(self, measurements=(*kept, *found), unmeasured={**missing, **unmeasured})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Json) -> "Record":
        measurements = tuple(Measurement(**each) for each in value["measurements"])
        rungs = tuple(Rung(**each) for each in value["rungs"])
        return cls(**{**value, "recipe": tuple(value["recipe"]), "measurements": measurements, "rungs": rungs})


@dataclass(frozen=True)
class Job:
    """A build that is asked of a worker, as plain data; `number` is that of the trial."""

    number: int
    recipe: tuple[Json, ...]
    fidelity: float
    seed: int
    shared: str = ""
    """Names the training that other jobs need too: one of them makes it while the others wait. Empty for none."""

    @classmethod
    def from_json(cls, value: Json) -> "Job":
        return cls(**{**value, "recipe": tuple(value["recipe"])})


Fate: TypeAlias = Literal["built", "inapplicable", "failed", "lost", "out of time"]

OUT_OF_TIME = "the time for the search is used up"
"""Why a search ends, or a job is stopped, at the end of its time."""


@dataclass(frozen=True)
class Done:
    """The result of a job: its record if it was built, otherwise the reason why not.

    A job is lost whose process was ended from outside: it may be tried again. One that is out of time was stopped at
    the end of the search.
    """

    job: Job
    fate: Fate
    record: Record | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Json) -> "Done":
        record = None if value["record"] is None else Record.from_json(value["record"])
        return cls(**{**value, "job": Job.from_json(value["job"]), "record": record})

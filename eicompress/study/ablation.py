"""The gain of each step and knob of a recipe: the recipe is built again without it, with several seeds."""

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from eicompress.cache import write_folder
from eicompress.contracts import Strategy
from eicompress.errors import EicompressError, SpecError, StudyError, nearest
from eicompress.metrics.quality import QUALITY
from eicompress.metrics.significance import Difference
from eicompress.metrics.size import SIZE
from eicompress.recipe import Recipe, knobs
from eicompress.study.outcomes import share_text
from eicompress.study.quality_words import QualityWords
from eicompress.study.with_seeds import Builder, WithSeeds
from eicompress.values import Json, Progress, Record, counted

SAME_SIZE = 0.01
"""Artifacts whose sizes differ by at most this share are equally large."""


@dataclass(frozen=True)
class Variant:
    """The recipe with one step removed or one knob changed, and the name of that change."""

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class Row:
    """The quality of a variant. It has no values if it could not be built; `reason` then says why."""

    name: str
    recipe: tuple[Json, ...]
    qualities: tuple[float, ...] = ()
    """The task's quality on the validation split, seed by seed."""
    size_mb: float = 0.0
    """Of the largest artifact."""
    gain: Difference | None = None
    """How much better the whole recipe is than this variant, example by example; None for the recipe itself."""
    smaller_mb: float = 0.0
    """How much smaller the whole recipe's artifact is than this variant's; negative where it is larger."""
    reason: str = ""

    @property
    def quality(self) -> float:
        return fmean(self.qualities)

    @property
    def verdict(self) -> str:
        """What the step or knob does to quality, and to size where that changes by more than `SAME_SIZE`."""
        if self.reason or self.gain is None:
            return self.reason
        share = self.smaller_mb / self.size_mb if self.size_mb else 0.0
        size = f", {abs(share):.0%} {'smaller' if share > 0 else 'larger'}" if abs(share) > SAME_SIZE else ""
        return f"{self.gain.verdict}{size}"

    def to_json(self) -> dict[str, Any]:
        gain = {**vars(self.gain), "verdict": self.verdict} if self.gain else None
        found: dict[str, Any] = {"name": self.name, "recipe": self.recipe, "gain": gain, "reason": self.reason}
        if self.qualities:
            found |= {"qualities": self.qualities, QUALITY: self.quality, SIZE: self.size_mb}
            found["smaller_mb"] = self.smaller_mb
        return found


@dataclass(frozen=True)
class Ablation:
    """The whole recipe first, then its variants."""

    quality: QualityWords
    fidelity: float
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            QUALITY: self.quality.name,
            "split": "validation",
            "fidelity": self.fidelity,
            "seeds": self.seeds,
            "rows": [row.to_json() for row in self.rows],
        }


@dataclass(frozen=True)
class Built:
    """One variant was built with one seed: the `number`-th of `count` builds. `record` is None if it could not be."""

    number: int
    count: int
    name: str
    seed: int
    record: Record | None
    words: QualityWords

    def line(self) -> str:
        """One line for the user."""
        quality = self.record.value(QUALITY) if self.record else None
        reached = "could not be built" if quality is None else self.words.text(quality, 2)
        return f"{self.number} of {self.count}: {self.name}, seed {self.seed}: {reached}"


def variants(recipe: Recipe, chosen: Iterable[str] = ()) -> list[Variant]:
    """The recipe without each of its steps, and with each chosen knob set back.

    A knob is named `strategy.knob`, which sets it to its default, or `strategy.knob=value`. Of several steps of one
    name the second is `strategy#2`. Raises `SpecError`.
    """
    named = _named(recipe)
    made = [
        Variant(f"without {name}", Recipe((*recipe.steps[:at], *recipe.steps[at + 1 :]))) for name, at in named.items()
    ]
    return made + [_set_back(recipe, named, words) for words in chosen]


def ablate(
    builder: Builder,
    recipe: Recipe,
    made: Sequence[Variant],
    *,
    fidelity: float,
    seeds: Sequence[int],
    progress: Callable[[Progress], None],
    built: Callable[[Built], None],
) -> Ablation:
    """Build the recipe and its variants with every seed, all of them with one before the next.

    What was built before, or shares a trained prefix with that, is not trained again, so the same call goes on after
    an interruption. Raises what building the whole recipe raises.
    """
    whole, words = Variant("the whole recipe", recipe), QualityWords.of(builder.task)
    records: dict[str, list[Record]] = {}
    reasons: dict[str, str] = {}
    count = (1 + len(made)) * len(seeds)
    for number, (seed, variant) in enumerate(((s, v) for s in seeds for v in (whole, *made)), start=1):
        if variant.name not in reasons:
            try:
                record = builder.scored(variant.recipe, fidelity=fidelity, seed=seed, progress=progress)
                records.setdefault(variant.name, []).append(record)
            except (EicompressError, ArithmeticError) as error:  # it cannot be built, or its training diverges
                if variant is whole:
                    raise
                reasons[variant.name] = str(error)
        failed = variant.name in reasons
        built(Built(number, count, variant.name, seed, None if failed else records[variant.name][-1], words))
    task, targets = builder.task, builder.examples["validation"].targets
    known = {name: WithSeeds(task, targets, tuple(of)) for name, of in records.items() if name not in reasons}
    rows = [
        _row(
            variant,
            known[variant.name],
            None if variant is whole else known[whole.name].gain_over(known[variant.name]),
        )
        if variant.name in known
        else Row(variant.name, tuple(variant.recipe.to_json()), reason=reasons[variant.name])
        for variant in (whole, *made)
    ]
    whole_mb = rows[0].size_mb
    compared = (replace(row, smaller_mb=row.size_mb - whole_mb) if row.qualities else row for row in rows)
    return Ablation(words, fidelity, tuple(seeds), tuple(compared))


def _named(recipe: Recipe) -> dict[str, int]:
    """The place of each step by its name."""
    found: dict[str, int] = {}
    for at, step in enumerate(recipe.steps):
        before = sum(each.name == step.name for each in recipe.steps[:at])
        found[step.name if not before else f"{step.name}#{before + 1}"] = at
    return found


def _set_back(recipe: Recipe, named: Mapping[str, int], words: str) -> Variant:
    place, equals, value = words.partition("=")
    name, _, knob = place.partition(".")
    if name not in named:
        raise SpecError(
            f"`--knob` must be `strategy.knob` of a step of the recipe, but got `{words}`: {nearest(name, named)}"
        )
    step = recipe.steps[named[name]]
    known = knobs(type(step))
    if knob not in known:
        raise SpecError(f"`{name}` has no knob `{knob}`: {nearest(knob, known)}")
    new = _value(value, words) if equals else known[knob].default
    if new == getattr(step, knob):
        raise SpecError(
            f"`--knob {words}` must change the recipe, but `{place}` is {new!r} in it already: "
            f"give another value, `{place}=VALUE`"
        )
    steps = list(recipe.steps)
    steps[named[name]] = _with(step, knob, new)
    return Variant(f"{place} {new!r} instead of {getattr(step, knob)!r}", Recipe(tuple(steps)))


def _with(step: Strategy, knob: str, value: object) -> Strategy:
    return replace(step, **{knob: value})  # type: ignore[type-var]


def _value(written: str, words: str) -> object:
    """A number, boolean or text as TOML writes it, the quotes of a text left out if one likes."""
    for text in (written, f'"{written}"'):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            continue
    raise SpecError(f"`--knob {words}` must have a number, true, false or a word behind the `=`")


def _row(variant: Variant, built: WithSeeds, gain: Difference | None) -> Row:
    return Row(
        variant.name,
        tuple(variant.recipe.to_json()),
        built.qualities,
        max(record.value(SIZE) or 0.0 for record in built.records),
        gain,
    )


def save(ablation: Ablation, folder: Path) -> None:
    """Write a folder with the table, `table.md`, and all of its numbers, `table.json`. Raises `StudyError`."""
    texts = {
        "table.md": markdown(ablation),
        "table.json": json.dumps(ablation.to_json(), ensure_ascii=False, indent=1),
    }

    def write(made: Path) -> None:
        for name, text in texts.items():
            (made / name).write_text(text, encoding="utf-8")

    try:
        write_folder(folder, write)
    except OSError as error:
        raise StudyError(f"`{folder}` must be a place to write to, but: {error.strerror}") from error


COLUMNS = ("", "quality", "gain", "95 % interval", "verdict", "size MB")


def cells(row: Row, words: QualityWords) -> tuple[str, ...]:
    """A row as text, in the order of `COLUMNS`: its quality, and by how much the recipe is better."""
    if not row.qualities:
        return row.name, "-", "-", "-", row.verdict, "-"
    quality, size = words.text(row.quality, 2), f"{row.size_mb:.3f}"
    if row.gain is None:
        return row.name, quality, "", "", "", size
    gain, low, high = map(words.signed, (row.gain.mean, row.gain.low, row.gain.high))
    return row.name, quality, gain, f"{low} to {high}", row.verdict, size


def markdown(ablation: Ablation) -> str:
    """The table, under a line that says how it was made."""
    lines = [caption(ablation), "", "| " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * 3 + "---|---:|"]
    rows = [[each.replace("|", "\\|") for each in cells(row, ablation.quality)] for row in ablation.rows]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def caption(ablation: Ablation) -> str:
    """What the numbers are."""
    seeds = ", ".join(map(str, ablation.seeds))
    length = "full length" if ablation.fidelity == 1.0 else f"{share_text(ablation.fidelity)} of the full length"
    points = ", in points" if ablation.quality.is_share else ""
    return (
        f"{ablation.quality.name} on the validation split, trained at {length}, mean over "
        f"{counted(len(ablation.seeds), 'seed')} ({seeds}). The gain is what the recipe has over each row{points}."
    )

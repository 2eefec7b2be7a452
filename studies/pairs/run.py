"""Which strategies go together, in which order, on the first two layers of a real MiniLM?

    pip install -e '.[quickstart]'
    python studies/pairs/run.py

Each strategy alone and each ordered pair is built on a part of 1,000 sentences of `builtin:docstrings`, exported, and
compared with its file; or it is inapplicable, and says why. Trainings take one step. Writes docs/reference/pairs.md.
"""

import argparse
import copy
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from eicompress import runtime
from eicompress.contracts import Candidate, Context, Examples, ModelStrategy
from eicompress.data.quickstart import builtin_model, docstrings
from eicompress.encoder import convert
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable
from eicompress.export import folder as artifacts
from eicompress.export.parity import check_parity
from eicompress.strategies.vocabulary_pruning import VocabularyPruning
from eicompress.tasks.classification import Classification
from eicompress.testing import built_in_steps, tiny_context
from eicompress.trials.candidate import applied
from eicompress.trials.inputs import whole_candidate

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "pairs.md"
ROWS = 1000
MEASURED = 8
"""Of the rows, those that strategies read and train on."""
COMPARED = 16
"""Of the rows, those on which file and model are compared."""
TOKENS = 1500
"""Of the baseline's vocabulary."""
KNOBS: Mapping[str, Mapping[str, object]] = {
    "embedding_codebook": {"piece": 16},
    "embedding_factorization": {"size": 64},
    "layer_pruning": {"count": 1, "rounds": 1},
    "sparse_training": {"rounds": 1},
    "thin_student": {"layers": 2},
    "vocabulary_pruning": {"num_tokens": 800},
}


@dataclass(frozen=True)
class Ground:
    """What all pairs are built on."""

    context: Context
    compared: Examples
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a strategy, alone or after another."""

    first: str
    second: str
    reason: str = ""
    """Why it is inapplicable; empty where file and model agree."""


def ground(folder: Path, neurons: int = 0) -> Ground:
    """The first two layers of MiniLM with a head of random weights, and a task of the built-in sentences.

    `neurons` are those of a feed-forward network that are kept, the first ones; 0 for all 1,536.
    """
    rows = docstrings()
    rows = [rows[at] for at in np.random.default_rng(0).permutation(len(rows))[:ROWS]]
    labels = tuple(sorted({row["label"] for row in rows}))
    targets = np.array([labels.index(row["label"]) for row in rows], np.int64)
    examples = Examples(tuple(row["text"] for row in rows), targets)
    source = convert.load(builtin_model("builtin:minilm"), outputs=len(labels))
    source.encoder.keep_layers([0, 1])
    for layer in range(2) if neurons else ():
        source.encoder.keep_neurons(layer, torch.arange(neurons))
    torch.nn.init.normal_(source.encoder.classifier.weight, std=0.3, generator=torch.Generator().manual_seed(0))
    whole = whole_candidate(source.encoder, source.tokenizer)
    context = tiny_context(folder, whole, fidelity=0.0)
    context = replace(context, task=Classification(labels), train=examples)
    baseline = VocabularyPruning(num_tokens=TOKENS).apply(whole, context)
    few = tiny_context(folder, replace(baseline, facts={}), fidelity=0.0)
    measured = examples.take(range(MEASURED))
    compared = examples.take(range(ROWS - COMPARED, ROWS))
    return Ground(replace(few, task=context.task, train=measured), compared, folder)


def steps() -> list[ModelStrategy]:
    """Every built-in with knobs that fit."""
    made = [replace(step, **KNOBS.get(step.name, {})) for step in built_in_steps()]  # type: ignore[type-var]
    return [step for step in made if isinstance(step, ModelStrategy)]


def outcomes(on: Ground, first: ModelStrategy, others: Iterable[ModelStrategy]) -> Iterator[Outcome]:
    """A strategy alone, then followed by each of the others. Raises what is no `Inapplicable`."""
    start = on.context.baseline
    made, reason = tried(on, first, start)
    yield Outcome(first.name, "", reason)
    for second in others:
        if made is None:
            yield Outcome(first.name, second.name, reason)
        else:
            yield Outcome(first.name, second.name, tried(on, second, made)[1])


def tried(on: Ground, step: ModelStrategy, subject: Candidate) -> tuple[Candidate | None, str]:
    """What a step makes of a copy, if its file agrees with it; or why it is inapplicable."""
    try:
        made: Candidate = applied(step, replace(subject, model=copy.deepcopy(subject.model)), on.context)
    except Inapplicable as error:
        return None, str(error)
    finished = replace(made, model=copy.deepcopy(made.model).eval())
    if isinstance(finished.model, Encoder) and finished.model.quantized:
        finished.model.round_floats()
    artifact = artifacts.write(finished, on.context.task.answer, on.folder / "artifact", pairs=False, manifest={})
    logits = runtime.load(artifact.folder).logits(on.compared.texts)
    check_parity(finished, on.compared.texts, logits, on.context.task.answer)
    return made, ""


def page(found: list[Outcome]) -> str:
    names = [each.first for each in found if not each.second]
    reasons = sorted({each.reason for each in found if each.reason})
    marks = {(each.first, each.second): str(1 + reasons.index(each.reason)) if each.reason else "x" for each in found}
    head = "| first, down; second, across | alone | " + " | ".join(str(at + 1) for at in range(len(names))) + " |"
    lines = [head, "|---" * (len(names) + 2) + "|"]
    for at, first in enumerate(names):
        cells = [marks[first, ""], *(marks.get((first, second), "") for second in names)]
        lines.append(f"| {at + 1} `{first}` | " + " | ".join(cells) + " |")
    reasons_given = [f"{at + 1}. {reason}" for at, reason in enumerate(reasons)]
    return "\n".join(
        [
            "# Which strategies go together",
            "",
            "Written by `python studies/pairs/run.py`; the slow tests build the same pairs with fewer neurons.",
            f"On the first two layers of MiniLM with {TOKENS:,} tokens and {ROWS:,} built-in sentences; trainings take",
            "one step.",
            "",
            "`x`: it is built and exported, and the file says what the model says. A number: the second, or the first",
            "alone, is inapplicable, for the reason of that number below.",
            "",
            *lines,
            "",
            "Reasons:",
            "",
            *reasons_given,
            "",
        ]
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        on = ground(Path(folder))
        every = steps()
        found: list[Outcome] = []
        for first in every:
            found += outcomes(on, first, [step for step in every if step.name != first.name])
            print(
                f"{first.name}: {sum(not each.reason for each in found if each.first == first.name)} work", flush=True
            )
    PAGE.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()

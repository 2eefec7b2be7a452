"""Advice on what to do next, from a study's own numbers."""

from eicompress.metrics.size import SIZE
from eicompress.reporting.record_text import words_of_study
from eicompress.study.outcomes import share_text
from eicompress.study.ranking import ranked
from eicompress.study.result import Result

ROOM = 0.9
"""A best artifact below this share of the size budget leaves room."""
LATE = 0.75
"""A best that came after this share of the trained candidates came late."""
LONG = 0.5
"""A training of this share of the full length tells what longer ones bring."""


def advice(result: Result) -> list[str]:
    """One line for each thing that would probably help, the surest first; empty where nothing suggests itself."""
    found = ranked(result.records, result.objective)
    if not found:
        return []
    lines = []
    name = words_of_study(result.folder)
    if "exhausted" in result.ended or "not worth training" in result.ended:
        lines.append("the search space has nothing new within the budget: give wider ranges with `--space`")
    trained = sorted(number for number, each in result.records.items() if each.trained and each.repeat_of is None)
    kept = (each for each in result.handed_out_as_they_were if each.rebuild)
    behind = next((each for each in kept if each.rebuild and each.rebuild.outcome == "complete"), None)
    if behind and behind.rebuild and behind.rebuild.fidelity < LONG:
        lines.append(
            f"the longest training of trial {behind.trial} was {share_text(behind.rebuild.fidelity)} of the full "
            f"length, so more time probably helps: eicompress search --study {name} --timeout 4h"
        )
    elif behind:
        lines.append(
            f"longer training made trial {behind.trial} no better on validation, so more time alone buys little: more "
            "labelled rows or `--unlabelled` text may"
        )
    elif len(trained) > 4 and trained.index(found[0][0]) >= LATE * len(trained):
        lines.append(f"the best came late, so there is probably more: eicompress search --study {name} --timeout 4h")
    budget, best = result.objective.hard.get(SIZE), None if result.verdict else result.best
    size = best[1].value(SIZE) if best else None
    if budget is not None and size is not None and size < ROOM * budget and SIZE not in result.objective.metrics:
        lines.append(
            f"the best takes {size:.3g} of {budget:g} MB: larger candidates were not better or too slow; a search "
            "space with larger ranges may use the rest"
        )
    return lines + [f"{each}" for each in result.agreements if each.doubtful]

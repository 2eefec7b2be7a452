"""What is printed before a search: its plan, and what it will meet."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eicompress.encoder.device import computes_with, own_device
from eicompress.metrics.latency import LATENCY
from eicompress.metrics.memory import MEMORY
from eicompress.metrics.quality import QUALITY
from eicompress.metrics.size import SIZE
from eicompress.reporting.record_text import duration
from eicompress.spec import Spec
from eicompress.study.forecast import Forecast
from eicompress.study.halving import described
from eicompress.study.objective import REWARD, Objective
from eicompress.study.plan import place_of
from eicompress.study.space import SearchSpace
from eicompress.study.space_words import slots_in_words
from eicompress.values import counted

SAMPLED = {"tpe": "", "nsga2": ", by evolution (NSGA-II)", "random": ", by random draws"}
"""What is said of each sampler beside the objective."""


def show_plan(console: Console, spec: Spec, space: SearchSpace, objective: Objective) -> None:
    """Print the plan of a search."""
    settings = spec.settings
    first, *others = slots_in_words(space)
    named = f" ({settings['quality']})" if settings["quality"] else ""
    rows = {
        "model": spec.model,
        "data": spec.data,
        "budget": ", ".join(_budgets(spec, objective)) or "none",
        "objective": settings["objective"] + named + _within_noise(objective) + SAMPLED[settings["sampler"]],
        "ends after": " or ".join(_ends(spec)),
        "study": str(spec.folder),
        "trains on": _trains_on(spec),
        "timed on": spec.settings["device"],
    }
    if settings.get("storage"):
        rows["storage"] = settings["storage"]
    if spec.plugin:
        rows["plug-in"] = f"{spec.plugin}, which the study remembers"
    table = grid()
    # A space has several lines, so it stands last.
    for name, text in [*rows.items(), ("space", f"{space.name}: {first}"), *(("", other) for other in others)]:
        table.add_row(name, Text(text))
    console.print(table)


def _within_noise(objective: Objective) -> str:
    return " within noise of the best quality" if objective.least else ""


def _budgets(spec: Spec, objective: Objective) -> list[str]:
    """What the artifact must keep to."""
    said = {
        SIZE: "{:g} MB",
        LATENCY: f"{'aiming at' if objective.name == REWARD else 'at most'} {{:g}} ms (p50, batch 1, "
        f"{spec.settings['threads']} thread)",
        MEMORY: "{:g} MB of memory",
        QUALITY: "quality of {:g} at least",
    }
    return [said[name].format(bound) if name in said else objective.limit(name) for name, bound in spec.budgets.items()]


def _ends(spec: Spec) -> list[str]:
    """What ends the search."""
    settings = spec.settings
    found = [f"{counted(settings['trials'], 'candidate')} trained"] if "trials" in settings else []
    found += [duration(spec.timeout_s)] if spec.timeout_s is not None else []
    return found + ([f"a quality of {settings['stop_at']:g}"] if "stop_at" in settings else [])


def _trains_on(spec: Spec) -> str:
    """Engine, workers, device and precision."""
    workers, place = spec.settings["workers"], place_of(spec)
    processes = f"{workers} process" + "es" * (workers > 1)
    if spec.settings["engine"] == "local":
        return f"this machine: {processes if workers else 'this process, unwatched'}, {computes_with(own_device())}"
    cluster = place.address or "started here"
    numbers = f"{'CUDA' if place.gpus else 'CPU'}, bfloat16 where a node multiplies it, else float32"
    return f"Ray ({cluster}): {processes} with {place} each, {numbers}"


def show_forecast(console: Console, found: Forecast, spec: Spec) -> None:
    """Print a forecast: what is reachable, and how many candidates the time allows."""
    rows = {
        **_foreseen(found),
        "rungs": described(found.rungs, found.full_steps, found.whole),
        "buys": _bought(found, spec),
    }
    table = grid()
    for name, text in rows.items():
        if text:
            table.add_row(name, Text(text))
    console.print(table)


def in_short(found: Forecast) -> list[str]:
    """A forecast in a few lines."""
    return [f"{name}: {text}" for name, text in _foreseen(found).items() if text]


def _foreseen(found: Forecast) -> dict[str, str]:
    fits = f"{found.fitting} of {found.draws} random recipes ({found.share:.0%})"
    of = {LATENCY: found.latency_of}
    least = [
        f"{each.label} {found.least[each.name]:.3g} {each.unit}".strip() + of.get(each.name, "")
        for each in found.metrics
    ]
    training = "not known: no recipe that was tried is within budget"
    if found.finish_s:
        training = "none but the shared one, until it is handed out"
    elif found.training_s is not None:
        what = "the first given recipe" if found.given else "random recipes"
        how = f"the median of {found.records} of this study" if found.records else f"from a few steps of {what}"
        training = f"{duration(found.training_s)} at full length, {how}"
    promoted = f", {duration(found.promoting_s)}" if found.promoting_s else ""
    if found.kept_s is not None:
        promoted += f"; {duration(found.kept_s)} are kept for it, so all of it is shortened"
    return {
        "knobs": str(found.knobs),
        "within budget": fits,
        "least reachable": ", ".join(least),
        "previews": f"{found.preview_s:.1f} s a draw",
        "a training": training,
        "promotion": f"{found.promotion}{promoted}",
        "shared training": _shared(found) if found.shared_s else "",
        "teacher": f"{duration(found.teacher_s)} once, for its answers" if found.teacher_s >= 1 else "",
        "the time is short": found.advice,
    }


def _shared(found: Forecast) -> str:
    epochs = f"{found.shortened:g} of {found.shared_epochs:g} epochs, since time is short: " if found.shortened else ""
    return f"{epochs}{duration(found.shared_s)} once, for all candidates"


def _bought(found: Forecast, spec: Spec) -> str:
    if found.training_s is None:
        return "not known"
    parts = []
    if "trials" in spec.settings:
        wanted = spec.settings["trials"]
        seconds = found.seconds(wanted, found.rungs) or 0.0
        parts.append(f"{counted(wanted, 'candidate')}, the best rebuilt: about {duration(seconds)}")
    if spec.timeout_s is not None:
        trials = found.trials(spec.timeout_s, found.rungs) or 0
        parts.append(f"{duration(spec.timeout_s)} train about {counted(trials, 'candidate')} and rebuild the best")
    return "; ".join(parts)


def grid() -> Table:
    """A table of names and what they are, without lines."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    return table

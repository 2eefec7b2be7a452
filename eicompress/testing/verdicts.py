"""The claims of a registered plug-in, run one after the other without pytest, for people to read."""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import SkipTest

from rich.console import Console

from eicompress.data.datasets import Table, check_rows, read_tables
from eicompress.errors import SpecError, nearest
from eicompress.plugins import Registry
from eicompress.testing.claims import Claim
from eicompress.testing.devices import device_checks
from eicompress.testing.metrics import metric_checks
from eicompress.testing.strategies import strategy_checks
from eicompress.testing.targets import target_checks
from eicompress.testing.tasks import task_checks
from eicompress.values import Json

ROWS = 64
"""Rows of a user's data that a task is tried on."""


def claims_of(
    registry: Registry,
    name: str,
    *,
    knobs: Mapping[str, Any] | None = None,
    rows: Sequence[Json] | None = None,
    skip: Mapping[str, str] | None = None,
) -> list[Claim]:
    """The claims of what is registered under this name. Raises `SpecError`, `DataError` and `PluginError`.

    A strategy is tried with `knobs`, where its defaults do not suit a tiny model, and a task with `rows`. `skip` are
    the texts of claims that are missed, each with the reason.
    """
    if knobs and name not in registry.strategies:
        raise SpecError(f"`--knob` must be one of a strategy's, but `{name}` is none: leave it out")
    if rows is not None and name not in registry.tasks:
        raise SpecError(f"`--data` must be a task's rows, but `{name}` is no task: leave it out")
    if name in registry.tasks:
        if rows:
            # Rows of another task would show every claim as broken.
            task = registry.tasks[name]
            check_rows(Table("--data", rows), task.columns_in(rows[0], {}), task.cell_refusal)
        return task_checks(registry.tasks[name], rows=rows, skip=skip)
    if name in registry.metrics:
        return metric_checks(registry.metrics[name], skip=skip)
    if name in registry.targets:
        return target_checks(registry.targets[name], skip=skip)
    if name in registry.devices:
        return device_checks(registry.devices[name], skip=skip)
    if name not in registry.strategies and not registry.broken and ("strategy", name) not in registry.clashes:
        known = {name for _, name in registry.sources}
        raise SpecError(f"no plug-in provides `{name}`: {nearest(name, known)}")
    example = registry.recipe([{"strategy": name, **knobs}]).steps[0] if knobs else None
    return strategy_checks(registry.strategy(name), example=example, skip=skip)


def read_knobs(written: Sequence[str]) -> dict[str, Any]:
    """The values in `share=0.1` and the like, as TOML reads them; what it does not read is a text."""
    found = {}
    for each in written:
        name, equals, value = each.partition("=")
        if not equals:
            raise SpecError(f"`--knob` must be a knob and its value, as in `share=0.1`, but got `{each}`")
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = value.strip()
    return found


def read_task_rows(source: str | None) -> Sequence[Json] | None:
    """The first 64 training rows of a data set; None where none is named. Raises `DataError`."""
    return None if source is None else read_tables(source)["train"].rows[:ROWS]


def read_skip(written: Sequence[str]) -> dict[str, str]:
    """The claims and reasons in `uses no pickle: its library does` and the like."""
    found = {}
    for each in written:
        claim, _, reason = each.partition(":")
        found[claim.strip()] = reason.strip()
    return found


def show_verdicts(console: Console, claims: list[Claim]) -> int:
    """Run the claims and print what became of each; how many are broken."""
    counts = {"holds": 0, "missed": 0, "broken": 0}
    for claim in claims:
        verdict, why = _verdict(claim)
        counts[verdict] += 1
        console.print(f"{verdict:<8}{claim}", style="bold red" if verdict == "broken" else None, highlight=False)
        for line in why.splitlines():
            console.print(f"{'':<8}{line}", highlight=False, markup=False, soft_wrap=True)
    console.print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()), highlight=False)
    return counts["broken"]


def _verdict(claim: Claim) -> tuple[str, str]:
    try:
        claim()
    except SkipTest as error:
        return "missed", str(error)
    except AssertionError as error:
        return "broken", str(error)
    except Exception as error:  # what a plug-in raises is its own
        return "broken", f"{type(error).__name__}: {error}"
    return "holds", ""

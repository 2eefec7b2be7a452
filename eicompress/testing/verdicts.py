"""The claims of a registered plug-in, run one after the other without pytest, for people to read."""

from unittest import SkipTest

from rich.console import Console

from eicompress.errors import SpecError, nearest
from eicompress.plugins import Registry
from eicompress.testing.claims import Claim
from eicompress.testing.metrics import metric_checks
from eicompress.testing.strategies import strategy_checks
from eicompress.testing.tasks import task_checks


def claims_of(registry: Registry, name: str) -> list[Claim]:
    """The claims of the strategy, task or metric of this name. Raises `SpecError` and `PluginError`."""
    if name in registry.tasks:
        return task_checks(registry.tasks[name])
    if name in registry.metrics:
        return metric_checks(registry.metrics[name])
    if name not in registry.strategies and not registry.broken and ("strategy", name) not in registry.clashes:
        known = {*registry.strategies, *registry.tasks, *registry.metrics}
        raise SpecError(f"no plug-in provides `{name}`: {nearest(name, known)}")
    return strategy_checks(registry.strategy(name))


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

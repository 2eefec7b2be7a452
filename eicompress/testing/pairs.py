"""What a strategy promises of another one beside it: the two of them make a file that agrees, or say why not."""

import tempfile
from functools import lru_cache
from pathlib import Path

from eicompress import runtime
from eicompress.contracts import GraphStrategy, ModelStrategy, Strategy
from eicompress.errors import Inapplicable
from eicompress.export.parity import check_parity
from eicompress.testing.building import build, tiny_texts
from eicompress.testing.claims import Claim
from eicompress.testing.tiny import tiny_artifact, tiny_context, tiny_task


def pair_claim(name: str, step: Strategy, other: Strategy) -> Claim:
    """The claim of a strategy, before and after another one."""

    def check(folder: Path) -> None:
        for number, steps in enumerate([(step, other), (other, step)]):
            if isinstance(steps[0], GraphStrategy) and isinstance(steps[1], ModelStrategy):
                continue
            place = Path(_studied().name)
            try:
                built = build(steps, tiny_context(place, fidelity=0.1), place)
            except Inapplicable:
                continue
            except Exception as error:
                order = " and then ".join(f"`{each.name}`" for each in steps)
                raise AssertionError(
                    f"{order} must work, or raise `Inapplicable`, but raised {type(error).__name__}: {error}"
                ) from error
            model = runtime.load(tiny_artifact(folder / str(number), built.candidate, graph=built.graph).folder)
            if all(isinstance(each, ModelStrategy) for each in steps):
                check_parity(built.candidate, tiny_texts(), model.logits(tiny_texts()), tiny_task().answer)

    return Claim(name, f"composes with `{other.name}`", check)


@lru_cache
def _studied() -> tempfile.TemporaryDirectory[str]:
    """The folder that all pairs are built in, as the candidates of a study are: a first step trains once, a teacher
    answers once."""
    return tempfile.TemporaryDirectory()

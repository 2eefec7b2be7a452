"""Where candidates are built: in the coordinator's own process."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from eicompress.errors import Inapplicable, StudyError
from eicompress.plugins import Registry
from eicompress.recipe import Recipe
from eicompress.record import is_disk_error
from eicompress.values import Done, Job, Progress, Record


class Builder(Protocol):
    """A workshop, as workers need it."""

    def build(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        """Trained, exported, checked and scored; the artifact's folder is `files["artifact"]`."""


def perform(job: Job, workshop: Builder, registry: Registry, progress: Callable[[Progress], None]) -> Done:
    """Build, whatever becomes of it. Raises only what no other job would escape either."""
    try:
        recipe = registry.recipe(job.recipe)
        record = workshop.build(recipe, fidelity=job.fidelity, seed=job.seed, progress=progress)
    except Inapplicable as error:
        return Done(job, "inapplicable", reason=str(error))
    except Exception as error:
        if is_disk_error(error) or isinstance(error, StudyError):
            raise
        return Done(job, "failed", reason="".join(traceback.format_exception(error)))
    return Done(job, "built", record)


@dataclass
class InProcess:
    """Builds in this process, one job at a time: for a debugger, and for tests."""

    workshop: Builder
    registry: Registry
    _jobs: list[Job] = field(default_factory=list)

    @property
    def free(self) -> bool:
        return not self._jobs

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def wait(self, progress: Callable[[int, Progress], None]) -> Done:
        job = self._jobs.pop()
        return perform(job, self.workshop, self.registry, lambda each: progress(job.number, each))

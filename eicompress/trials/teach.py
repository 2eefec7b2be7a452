"""A teacher that was searched for, written to a folder and measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from eicompress.cache import Cache, default_folder, write_folder
from eicompress.contracts import Task
from eicompress.encoder.device import own_device
from eicompress.metrics.quality import QUALITY
from eicompress.plugins import Registry
from eicompress.spec import Spec
from eicompress.training.teacher import answers_of, stacked
from eicompress.trials.builder import open_builder
from eicompress.trials.inputs import model_folder, opened_teacher_search, with_teacher
from eicompress.trials.task_data import read_data
from eicompress.trials.taught import Attempt, Taught, read_taught
from eicompress.values import Progress


@dataclass(frozen=True)
class Lesson:
    """A teacher that was written to a folder, and how good it is on the validation split, beside simple baselines."""

    folder: Path
    taught: Taught
    task: Task
    """What its quality is that of."""
    quality: float
    """Of all members together."""
    beside: Mapping[str, float]
    """Other qualities of all members together, by name, such as the accuracy of each of several tasks."""
    of_members: tuple[float, ...]
    simple: Mapping[str, float]
    """What simple baselines reach, by their names."""
    notes: tuple[str, ...] = ()
    """What was found and done when the data was read."""

    @property
    def beaten_by(self) -> tuple[str, ...]:
        """The simple baselines that are better."""
        return tuple(name for name, quality in self.simple.items() if quality > self.quality)


def train_teacher(
    spec: Spec,
    registry: Registry,
    output: Path,
    *,
    members: int,
    progress: Callable[[Progress], None],
    on_attempt: Callable[[Attempt], None],
) -> Lesson:
    """Search for a teacher, write it to a new folder, and measure it. Raises `DataError` and `ModelError`."""
    device, cache, folder = own_device(), Cache(default_folder()), model_folder(spec.model)
    read = read_data(registry, spec)
    search = opened_teacher_search(
        folder,
        read,
        seed=spec.seed,
        device=device,
        limit_s=spec.teacher_s,
        cache=cache,
        progress=progress,
        on_attempt=on_attempt,
    )
    found = with_teacher(search, "teach", members, f"The search for a teacher takes at most {search.limit_s:.0f} s.")
    taught = read_taught(found)
    # The quality is the teacher's own, where it is otherwise compared with a teacher's.
    task = read.task.without_teacher()
    trained = Spec({**spec.settings, "model": str(found), "quality": task.quality})
    measured = open_builder(trained, registry, folder=default_folder() / "single", progress=progress)
    validation = read.examples["validation"]
    logits = stacked([answers_of(each, validation.texts, device, states=False)[0] for each in taught.members])
    mean = logits.mean(axis=0)
    simple = {name: record.value(QUALITY) or 0.0 for name, record in measured.simple(None).items()}
    # Last, since the same command refuses an output that is there.
    write_folder(output, taught.write)
    return Lesson(
        output,
        taught,
        task,
        task.best_score(mean, validation.targets),
        task.beside(task.answer.tuned(mean, validation.targets, None).decided(mean), validation.targets),
        tuple(task.best_score(each, validation.targets) for each in logits),
        simple,
        read.notes,
    )

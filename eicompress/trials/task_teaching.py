"""Who teaches several tasks: the baseline all of them, or a model of its own each of them."""

from collections.abc import Mapping
from pathlib import Path

from eicompress.answers import MultiTask
from eicompress.cache import Cache
from eicompress.errors import ModelError, SpecError, listed, nearest
from eicompress.training.task_teachers import TaskTeachers, tasks_by_text
from eicompress.training.teacher import Ensemble, StoredTeacher, held_out
from eicompress.trials.inputs import Model, teachers_in, who_teaches
from eicompress.trials.task_data import TaskData


def teachers_of_tasks(
    baseline: Model, folders: Mapping[str, str], data: TaskData, *, seed: int, device: str, cache: Cache
) -> TaskTeachers:
    """The teachers in these folders by the names of their tasks; without any, the baseline teaches all tasks.

    Raises `SpecError` where a task has none, and `ModelError`.
    """
    answer = data.task.answer
    assert isinstance(answer, MultiTask)
    names, known = [each.name for each in answer.parts], tasks_by_text(answer, data.examples.values())
    if not folders:
        teacher = who_teaches(baseline, (), "mean", data, seed=seed, device=device, cache=cache)
        return TaskTeachers(answer, (teacher,), known)
    for name in folders:
        if name not in names:
            raise SpecError(f"`--teacher` must be of one of the tasks, but got `{name}`: {nearest(name, names)}")
    missing = [name for name in names if name not in folders]
    if missing:
        raise SpecError(
            f"`--teacher` must name one for each task, NAME=FOLDER, or none, but {listed(missing)} has none: add it, "
            "or leave out the others, so that the model teaches all tasks"
        )
    teachers = []
    for part in answer.parts:
        try:
            found: list[StoredTeacher] = teachers_in(Path(folders[part.name]), part.answer, device, cache)
        except ModelError as error:
            raise ModelError(f"task `{part.name}`: {error}") from error
        mean = Ensemble(tuple(found), "mean", data.task, held_out(data.examples["validation"], seed))
        teachers.append(found[0] if len(found) == 1 else mean)
    return TaskTeachers(answer, tuple(teachers), known)

"""What a user names, read: a model as the baseline, and who teaches.

A model is a `transformers` folder, a folder that `teach` wrote, or built in. One that has no head for the task gets one
here, by the way that `--teacher-training` names.
"""

import importlib
import importlib.util
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from tokenizers import Tokenizer

from eicompress.answers import Answer
from eicompress.cache import Cache
from eicompress.contracts import Candidate, Origin
from eicompress.data.quickstart import builtin_model
from eicompress.encoder import convert
from eicompress.encoder.heads import answer_as
from eicompress.encoder.model import Encoder
from eicompress.errors import ModelError, SpecError, StudyError, nearest
from eicompress.training.foreign_teacher import open_pretrained
from eicompress.training.teacher import Ensemble, StoredTeacher, encoder_teacher, held_out
from eicompress.trials import candidate as candidates
from eicompress.trials import teacher_search
from eicompress.trials.code import MAKING, own_code
from eicompress.trials.embedder import let_embed
from eicompress.trials.task_data import TaskData
from eicompress.trials.taught import Attempt, is_taught, poolings_of, read_description, read_taught
from eicompress.trials.taught import digest as taught_digest
from eicompress.values import Progress, digest_of

READING_S = 5.0
"""Seconds after which it is known how long reading the training rows takes."""
BUILT_IN = "builtin:"
"""Prefix of the names of what comes with a package."""


@dataclass(frozen=True)
class Model:
    """A model as its folder holds it."""

    candidate: Candidate
    answer: Answer | None
    """What its head answers; None where it has none of this number of outputs."""
    digest: str
    others: tuple[Candidate, ...] = ()
    """Models that were trained beside it, and teach with it."""

    def answering(self, answer: Answer) -> "Model | None":
        """The model with a head that answers so; None if its own answers something else."""
        for each in (self.candidate, *self.others):
            if not answer_as(each.encoder, self.answer, answer):
                return None
        return replace(self, answer=answer)


def model_folder(model: str) -> Path:
    """The folder of a model, by its path or its built-in name. Raises `ModelError` where there is none."""
    folder = builtin_model(model) if model.startswith(BUILT_IN) else Path(model).expanduser()
    convert.check_folder(folder)
    return folder


def read_model(folder: Path, wanted: Answer) -> Model:
    """The model in a folder, with a new head where its own has another number of outputs than is wanted, or as one that
    answers vectors. Raises `ModelError`."""
    if is_taught(folder):
        taught = read_taught(folder)
        return Model(taught.members[0], taught.answer, taught_digest(folder), taught.members[1:])
    source = convert.load(folder, outputs=1 if wanted.unit else wanted.outputs)
    if wanted.unit:
        answer, pooling = let_embed(source.encoder, source.tokenizer, folder)
        digest = digest_of([source.digest, pooling, source.tokenizer.truncation])
        return Model(whole_candidate(source.encoder, source.tokenizer), answer, digest)
    return Model(whole_candidate(source.encoder, source.tokenizer), source.answer, source.digest)


def whole_candidate(encoder: Encoder, tokenizer: Tokenizer) -> Candidate:
    """A converted model as the candidate that every recipe starts from."""
    config = encoder.config
    return Candidate(encoder, tokenizer, Origin(tuple(range(len(config.layers))), tuple(range(config.hidden))))


def opened_teacher_search(
    folder: Path,
    data: TaskData,
    *,
    seed: int,
    device: str,
    limit_s: float,
    cache: Cache,
    progress: Callable[[Progress], None],
    on_attempt: Callable[[Attempt], None] = lambda _: None,
) -> teacher_search.TeacherSearch:
    """The search for a teacher made of the model in a folder. Raises `ModelError`."""
    if data.task.answer.unit:
        raise ModelError(
            f"no teacher is trained for the task `{data.task.name}`, since a model's own vectors are what is learned, "
            f"but got `{folder}`: give a folder of sentence-transformers, or a model without a head, to `search`"
        )
    if is_taught(folder):
        raise ModelError(
            f"The model to train a teacher from must be one that no teacher was made of yet, but `{folder}` is a "
            "teacher: give the model that it came from"
        )
    model = read_model(folder, data.task.answer)
    return teacher_search.TeacherSearch(
        source=model.candidate,
        poolings=("none",) if data.task.answer.reads == "words" else poolings_of(folder),
        task=data.task,
        train=data.examples["train"],
        seed=seed,
        device=device,
        limit_s=limit_s,
        cache=cache,
        key=digest_of([model.digest, data.digest, code_of_models()]),
        progress=progress,
        on_attempt=on_attempt,
    )


def in_time_for_a_teacher(
    progress: Callable[[Progress], None], limit_s: float, clock: Callable[[], float] = time.monotonic
) -> Callable[[Progress], None]:
    """A progress that raises `StudyError` if to read the training rows once, before any training, takes longer than a
    teacher may be trained."""
    begun, last = clock(), math.inf

    def watched(each: Progress) -> None:
        nonlocal begun, last
        progress(each)
        if each.loss is not None or not each.step:
            return
        if each.step <= last:  # the first, or of another reading
            begun = clock()
        last, taken = each.step, clock() - begun
        seconds = taken / each.step * each.steps
        if taken > READING_S and seconds > limit_s:
            raise StudyError(
                "there must be time to train a teacher first, since the model answers no labels of this data, but "
                f"reading the {each.steps:,} training rows alone takes about {seconds:.0f} s, and there are "
                f"{limit_s:.0f} s: give a longer `--teacher-timeout`, fewer rows with `--rows`, or as `--model` what "
                "`eicompress teach` has trained"
            )

    return watched


def with_teacher(search: teacher_search.TeacherSearch, how: str, members: int = 1, note: str = "") -> Path:
    """The folder of the teachers that one of the ways of `--teacher-training` makes, trained at the first call, before
    which `note` is given to the search's progress."""
    key = [search.key, how, search.seed, members, search.limit_s if how == "teach" else 0]

    def write(folder: Path) -> None:
        search.progress(Progress("teacher", note=note))
        taught = search.finetuned() if how == "finetune" else search.run(members, linear_only=how == "probe")
        taught.write(folder)

    return search.cache.kept("teacher-model", key, write)


def why_taught(answer: Answer | None, wanted: Answer) -> str:
    """Why a model that answers `answer` needs a new head."""
    return f"has no {wanted.head} for this task" if answer is None else "answers other labels than the data has"


def before_teaching(why: str, how: str, limit_s: float) -> str:
    """What a user should know before a teacher is trained: what is done, and how long that takes at most."""
    long = {
        "teach": f"for at most {limit_s:.0f} s, a time that `--teacher-timeout` sets",
        "probe": "which reads each training row once",
        "finetune": f"for {teacher_search.FINETUNE_EPOCHS:g} epochs of the training rows",
    }
    return f"The model {why}, so a teacher is trained first, {long[how]}."


def how_taught(why: str, folder: Path) -> tuple[str, ...]:
    """What a user should know of a teacher that was trained before the search."""
    taught = read_description(folder)
    tried = f", the best of {len(taught.attempts)} tried" if len(taught.attempts) > 1 else ""
    measured = f": {taught.chosen.quality:.4f} on held-out training rows{tried}" if taught.attempts else ""
    return (f"The model {why}, so a teacher was trained first: {taught.chosen.what}{measured}.", *taught.notes)


def read_start(start: str, baseline: Candidate) -> tuple[Candidate, str]:
    """The candidate that every recipe starts from, and its digest: a folder that `prepare` wrote, or a built-in name.

    Raises `ModelError`.
    """
    if start.startswith(BUILT_IN):
        found, digest = _built_in_start(start)
        return candidates.starting_point(found, baseline, start), digest
    folder = Path(start).expanduser()
    if not (folder / "candidate.json").is_file():
        raise ModelError(f"A starting point must be a folder that `eicompress prepare` wrote, but `{folder}` is none.")
    return candidates.starting_point(candidates.load(folder), baseline, start), candidates.digest(folder)


def _built_in_start(start: str) -> tuple[Candidate, str]:
    if importlib.util.find_spec("eicompress_starts") is None:
        raise ModelError(
            f"`{start}` must have the package `eicompress-starts`, but it is not installed. "
            "Type: pip install eicompress-starts"
        )
    weights = importlib.import_module("eicompress_starts.weights")
    name = start.removeprefix(BUILT_IN)
    if name not in weights.NAMES:
        known = [BUILT_IN + each for each in weights.NAMES]
        raise ModelError(f"A built-in starting point must exist, but got `{start}`; {nearest(start, known)}")
    return weights.load(name, 1), digest_of([name, weights.SHA256])


def code_of_models() -> str:
    """Names the code that models are read and answer with."""
    return digest_of([own_code(MAKING), version("transformers")])


def who_teaches(
    baseline: Model,
    teachers: Sequence[Path | None],
    ensemble: str,
    data: TaskData,
    *,
    seed: int,
    device: str,
    cache: Cache,
) -> StoredTeacher | Ensemble:
    """The teachers in these folders, of which None is the baseline's; without any, the baseline with those that were
    trained beside it. Raises `ModelError`."""
    answer = data.task.answer
    check_ensemble(ensemble, answer)
    own = encoder_teachers(baseline, answer, device=device, cache=cache, aligned=True)
    read = [teachers_in(folder, answer, device, cache) if folder else own for folder in teachers]
    found = [each for of_folder in read for each in of_folder] or own
    if len(found) == 1:
        return found[0]
    return Ensemble(tuple(found), ensemble, data.task, held_out(data.examples["validation"], seed))


def check_ensemble(ensemble: str, answer: Answer) -> None:
    """Raise `SpecError` where teachers of this answer cannot be combined so."""
    if ensemble != "mean" and not answer.surest:
        raise SpecError(
            f"`--ensemble` must be mean where the answer is a {answer.kind}, since nothing says how sure a teacher is, "
            f"but got {ensemble}"
        )


def encoder_teachers(
    model: Model, answer: Answer, *, device: str, cache: Cache, aligned: bool = False
) -> list[StoredTeacher]:
    """A model and those that were trained beside it as teachers of an answer; `aligned` for the baseline."""
    code, named = code_of_models(), [model.digest, answer.to_json()]
    return [
        encoder_teacher(each, digest_of([*named, at]), code, cache, device, aligned and at == 0)
        for at, each in enumerate((model.candidate, *model.others))
    ]


def teachers_in(folder: Path, answer: Answer, device: str, cache: Cache) -> list[StoredTeacher]:
    """The teachers in a folder. Raises `ModelError` where they answer something else."""
    if is_taught(folder) or answer.unit:
        known = read_model(folder, answer)
        model = known.answering(answer)
        if model is None:
            raise ModelError(answer.mismatch(f"the teacher `{folder}`", known.answer))
        return encoder_teachers(model, answer, device=device, cache=cache)
    pretrained = open_pretrained(folder, answer, device)
    named, word_outputs = pretrained.digest, answer.word_outputs
    return [StoredTeacher(pretrained.answers, named, code_of_models(), False, cache, word_outputs=word_outputs)]

"""A forecast of a search before anything is trained: what fits, what is reachable, how long a training takes."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any, Protocol

import optuna
from optuna.samplers import RandomSampler

from eicompress.cache import is_disk_error
from eicompress.errors import Crashed, StudyError
from eicompress.metrics.latency import LATENCY, of_exits
from eicompress.metrics.size import SIZE
from eicompress.recipe import Recipe
from eicompress.study.fit_to_budget import Previewer, filled
from eicompress.study.halving import one_in
from eicompress.study.ledger import Ledger
from eicompress.study.objective import Objective
from eicompress.study.promotion import PromotionPlan, kept_for_promotion, promotion_plan
from eicompress.study.ranking import has_own_training
from eicompress.study.reach import check_reachable
from eicompress.study.space import SearchSpace
from eicompress.study.time_keeping import full_seconds
from eicompress.trials.training_time import TimeEstimate
from eicompress.values import TRAINING, Quantity, Record, seed_of

DRAWS = 16
"""Random recipes that are previewed."""
TIMED_RECIPES = 3
"""Of the random ones within budget, how many are trained for a few steps where no given recipe is."""
FEW = 4
"""Recipes to try until one is typical: given ones until one is within budget, random ones until one applies."""
ENOUGH_RECORDS = 3
"""Candidates trained before, from which a training's seconds are better known than from a few steps."""


class Measurer(Protocol):
    """Knows how long trainings are, and on how many texts candidates are scored."""

    @property
    def scored_share(self) -> float:
        """The share of the validation texts that parts of a shared training are scored on at first."""

    def count_steps(self, recipe: Recipe) -> int: ...


class TimeEstimator(Previewer, Measurer, Protocol):
    """Previews recipes, and estimates the time of their trainings."""

    def estimate_time(self, recipe: Recipe) -> TimeEstimate: ...


@dataclass(frozen=True)
class Forecast:
    """The forecast of a search. Seconds are of this machine."""

    knobs: int
    draws: int
    fitting: int
    """Random draws within budget, and the number of random draws."""
    least: Mapping[str, float]
    """The least value of each metric in any preview; the largest of what is maximised."""
    metrics: tuple[Quantity, ...]
    """What these metrics are."""
    preview_s: float
    """All previews of a draw: several where a knob is filled."""
    training_s: float | None
    """One training at full length; None where nothing that was tried is within budget."""
    teacher_s: float
    """The teacher's answers, which are computed once."""
    promotion: PromotionPlan
    """What is trained of the best in the end, where there is time for all of it."""
    rungs: tuple[float, ...]
    """Shares of `whole` that candidates have."""
    records: int
    """Trainings of this study that the seconds are taken from; 0 where they are estimated from a few steps."""
    given: bool = False
    """Whether the estimate is of the first given recipe within budget, and not of random ones."""
    full_steps: int | None = None
    """Steps of the full training, where they were counted."""
    shared_s: float = 0.0
    """The training that all candidates share, which is made once; 0 where there is none, or it was made before."""
    shared_epochs: float = 0.0
    """How often it reads each of its texts."""
    shortened: float = 0.0
    """The same where the time is too short for that; 0 where it is enough."""
    finish_s: float = 0.0
    """What finishes a candidate of a shared training that is handed out; 0 without."""
    epochs: float = 1.0
    """How often a training at full length reads each of its texts."""
    advice: str = ""
    """What to ask for where the time is too short; empty where it is enough."""
    whole: str = TRAINING
    """What the rungs are shares of."""
    latency_of: str = ""
    """What the least latency is that of where its model has early exits, for people: ` (all layers)`."""
    left_s: float | None = None
    """What is left of the time of the search; None where it is not limited."""
    baselines: Mapping[str, Record] = field(default_factory=dict)
    """What the baseline reaches, and simple baselines, by their names."""

    @property
    def share(self) -> float:
        """Share of random recipes that are within budget."""
        return self.fitting / self.draws

    @property
    def rebuild_s(self) -> float:
        """Of one candidate that is handed out."""
        return (self.training_s or 0.0) + self.finish_s

    @property
    def promoting_s(self) -> float:
        """What promotion takes in full length."""
        return self.promotion.trainings * self.rebuild_s

    @property
    def kept_s(self) -> float | None:
        """What is kept for promotion where it is less than it takes in full length; then it is shortened to that."""
        left_s = math.inf if self.left_s is None else self.left_s
        kept = kept_for_promotion(left_s, self.rebuild_s, self.promotion)
        return kept if kept < self.promoting_s else None

    def trials(self, timeout_s: float, rungs: Sequence[float]) -> int | None:
        """About how many candidates are trained in the time."""
        if self.training_s is None:
            return None
        kept = kept_for_promotion(timeout_s, self.rebuild_s, self.promotion)
        once = self._teacher_s(rungs[-1]) + self.shared_s
        return max(0, int((timeout_s - kept - once) / self._trial_s(self.training_s, rungs)))

    def seconds(self, trials: int, rungs: Sequence[float]) -> float | None:
        """Estimated seconds to train this number of candidates and to promote the best."""
        if self.training_s is None:
            return None
        searching = trials * self._trial_s(self.training_s, rungs)
        return self.teacher_s + self.shared_s + searching + self.promoting_s

    def first_s(self, length: float) -> float:
        """Estimated seconds of the first training at this length, with the teacher's answers to the texts it reads."""
        return self.shared_s + self._teacher_s(length) + length * (self.training_s or 0.0)

    def seconds_for(self, trials: int, rungs: Sequence[float]) -> float | None:
        """Estimated seconds of a search that trains this number of candidates, and reserves time for promotion."""
        if self.training_s is None:
            return None
        searching = self.teacher_s + self.shared_s + trials * self._trial_s(self.training_s, rungs)
        promoting = kept_for_promotion(math.inf, self.rebuild_s, self.promotion)
        return min(searching / (1 - self.promotion.share), searching + promoting)

    def _teacher_s(self, length: float) -> float:
        """Of the teacher's answers to the texts that a training of this length reads."""
        return self.teacher_s * min(1.0, length * self.epochs)

    def _trial_s(self, training_s: float, rungs: Sequence[float]) -> float:
        """From one trained candidate to the next: some go on at each rung, and some previews are over budget."""
        length, share = rungs[0], 1.0
        for place, longer in enumerate(rungs[1:]):
            share /= one_in(rungs, place)
            length += share * longer
        return training_s * length + self.preview_s * self.draws / max(1, self.fitting)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def forecast(
    builder: TimeEstimator,
    space: SearchSpace,
    objective: Objective,
    seed: int,
    records: Iterable[Record] = (),
    *,
    draws: int = DRAWS,
    hurry: Callable[[], bool] = lambda: False,
) -> Forecast:
    """Preview the space's corner and random recipes, and time a few steps of one that is given and fits, or of some
    random ones. In a `hurry` no more than one that fits is looked for.

    A given recipe is what a search trains first and often rebuilds in the end; random ones may be far shorter.
    `records` are those of the study, where there is one. Raises `BudgetError` if even the corner is over budget,
    and `Crashed`.
    """
    timed = _Timed(builder)
    corner = check_reachable(builder, space, objective)
    previews = [] if corner is None else [corner]
    given: Recipe | None = None
    for recipe in map(space.recipe, space.known[:FEW]):
        if tried := _previewed(builder, space, recipe, objective):
            previews.append(tried.preview)
            if tried.fits:
                given = tried.recipe
                break
    fitting: list[Recipe] = []
    drawn = 0
    for recipe in random_recipes(space, seed, draws):
        if drawn and (given or fitting) and hurry():
            break
        drawn += 1
        if tried := _previewed(timed, space, recipe, objective):
            previews.append(tried.preview)
            if tried.fits:
                fitting.append(tried.recipe)
    known = [record for record in records if has_own_training(record) and record.outcome != "failed"]
    enough = len(known) >= ENOUGH_RECORDS
    finish, estimates = space.finish, list[TimeEstimate]()
    most = TIMED_RECIPES if not enough else 1 if finish else 0
    for recipe in ([given] if given else fitting)[:most]:
        if estimates and hurry():
            break
        estimates.append(builder.estimate_time(Recipe((*recipe.steps, *finish))))
    trainings = [each.training for each in estimates]
    estimated = [0.0 for _ in trainings] if finish else trainings
    seconds = [full_seconds(each) for each in known] if enough else estimated
    least = _reachable(previews, objective)
    fastest = least.get(LATENCY)
    return Forecast(
        knobs=len(space.knobs),
        draws=drawn,
        fitting=len(fitting),
        least={name: record.value(name) or 0.0 for name, record in least.items()},
        latency_of="" if fastest is None else of_exits(fastest),
        metrics=tuple(objective.known[name] for name in least),
        preview_s=timed.seconds / drawn,
        training_s=median(seconds) if seconds else None,
        teacher_s=max((each.teacher for each in estimates), default=0.0),
        shared_s=max((each.shared for each in estimates), default=0.0),
        shared_epochs=max((each.shared_epochs for each in estimates), default=0.0),
        finish_s=median(trainings) if finish and trainings else 0.0,
        epochs=max((each.epochs for each in estimates), default=1.0),
        promotion=promotion_plan(space, objective),
        rungs=space.rungs,
        whole=space.whole,
        records=len(known) if enough else 0,
        given=given is not None,
    )


@dataclass(frozen=True)
class _Previewed:
    """A recipe with its filled knob, its preview, and whether that is within budget."""

    recipe: Recipe
    preview: Record
    fits: bool


def _previewed(builder: Previewer, space: SearchSpace, recipe: Recipe, objective: Objective) -> _Previewed | None:
    """None where the recipe does not apply. Raises `Crashed`."""
    try:
        recipe = filled(builder, space, recipe, objective.hard)
        preview = builder.preview(recipe)
    except Exception as error:
        if is_disk_error(error) or isinstance(error, Crashed | StudyError):
            raise
        return None
    return _Previewed(recipe, preview, not objective.broken(preview))


def in_rungs(space: SearchSpace, ledger: Ledger | None, builder: Measurer, seed: int) -> tuple[SearchSpace, int | None]:
    """The space with the rungs that a study has or is going to have, and the steps of the full training, if counted."""
    known = ledger.rungs() if ledger else {}
    if known:
        space = replace(space, rungs=tuple(known["shares"]))
        return space.with_shared_epochs(known.get("shared_epochs", 0.0)), known["steps"]
    if space.only_shared:
        return replace(space, rungs=tuple(sorted({builder.scored_share, 1.0}))), None
    # A study that has records without them began with the shares as they were written.
    if not space.rung_steps or (ledger and ledger.records()):
        return space, None
    steps = typical_steps(builder, space, seed)
    return space if steps is None else space.with_least_steps(steps), steps


def typical_steps(builder: Measurer, space: SearchSpace, seed: int) -> int | None:
    """Steps of the full training of the first given recipe that applies and has one of its own, or else of a random
    one; None without."""
    given = map(space.recipe, space.known)
    for recipe in itertools.chain(given, random_recipes(space, seed, FEW)):
        try:
            steps = builder.count_steps(recipe)
        except Exception as error:
            if is_disk_error(error) or isinstance(error, StudyError):
                raise
            if isinstance(error, Crashed):
                return None
        else:
            if steps:
                return steps
    return None


def random_recipes(space: SearchSpace, seed: int, count: int) -> Iterator[Recipe]:
    """Recipes drawn uniformly, nothing filled."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=RandomSampler(seed=seed_of(seed, "forecast")))
    for _ in range(count):
        yield space.suggest(study.ask())


@dataclass
class _Timed:
    """Adds up what previews took when they were taken, since a preview that is known takes no time."""

    builder: Previewer
    seconds: float = 0.0

    def preview(self, recipe: Recipe, *, size_only: bool = False, careful: bool = False) -> Record:
        record = self.builder.preview(recipe, size_only=size_only, careful=careful)
        self.seconds += sum(record.seconds_by_phase.values())
        return record


def _reachable(previews: list[Record], objective: Objective) -> dict[str, Record]:
    """The preview with the best value of size, of latency and of each other metric of the search."""
    found = {}
    for name in (SIZE, LATENCY, *(each.name for each in objective.extra)):
        values = {value: each for each in previews if (value := each.value(name)) is not None}
        if values:
            found[name] = values[min(values) if objective.known[name].direction == "minimize" else max(values)]
    return found

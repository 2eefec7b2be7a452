"""Draw a trial, preview it, and give it to a worker if it is within budget and new."""

from dataclasses import replace

from eicompress.cache import is_disk_error
from eicompress.errors import Inapplicable, StudyError
from eicompress.recipe import Recipe
from eicompress.study.ask_and_tell import Draw
from eicompress.study.events import Drawn
from eicompress.study.fit_to_budget import filled
from eicompress.study.open_trials import OpenTrial, OpenTrials, tell, tell_repeat
from eicompress.study.outcomes import judged
from eicompress.study.ranking import has_own_training
from eicompress.study.search import Search
from eicompress.study.streaks import AT_RANDOM, REPEATS
from eicompress.study.trial_training import train
from eicompress.trials.candidate import reason_of
from eicompress.values import Progress, Record, digest_of


def enqueue_variants(trials: OpenTrials) -> None:
    """Queue the variants of the trainings that ended since the last call."""
    search = trials.search
    if not search.space.after_training:
        return
    for number in sorted(search.records.keys() - trials.varied):
        record = search.records[number]
        cheap = search.registry.recipe(record.recipe).only_shared
        if record.outcome == "complete" and has_own_training(record) and not cheap:
            trials.draws.enqueue_variants(search.space, number)
        trials.varied.add(number)


def draw(trials: OpenTrials) -> None:
    """Ask for a trial and preview it; a worker gets it if it is within budget and new."""
    search, repeats = trials.search, trials.streaks.repeats
    if repeats >= REPEATS and (parameters := trials.never_drawn):
        trials.draws.enqueue(parameters)
    sampler = search.goal.sampler if repeats < AT_RANDOM else "random"
    drawn = trials.draws.ask(sampler, search.goal.seed, beside=bool(trials.open))
    recipe = search.space.suggest(drawn.trial)
    trials.draws.note(drawn, recipe)
    trials.open[drawn.number] = drawn
    search.on_event(Drawn(drawn.number, recipe))
    before = trials.first_drawn.get(digest_of(recipe.to_json()))
    if before is not None and drawn.variant_of is None:
        tell_repeat(trials, drawn, before)
        return
    try:
        recipe, preview = _previewed(search, drawn, recipe)
        key = search.builder.key(recipe, fidelity=search.space.fidelity, seed=search.goal.seed)
    except Inapplicable as error:
        tell(trials, drawn, search.unbuilt(recipe, drawn.index, "inapplicable", str(error)))
        return
    except Exception as error:
        if is_disk_error(error) or isinstance(error, StudyError):
            raise
        tell(trials, drawn, search.unbuilt(recipe, drawn.index, "failed", reason_of(error)))
        return
    # One that shares another's training has the last one alone.
    lengths = search.space.rungs if drawn.variant_of is None else (search.space.fidelity,)
    lengths = (1.0,) if recipe.only_shared and not search.space.only_shared else lengths
    _hand_over(trials, OpenTrial(drawn, recipe, replace(preview, key=key), lengths))


def _hand_over(trials: OpenTrials, trial: OpenTrial) -> None:
    """Give the trial to a worker, unless its preview or another trial answers for it."""
    search, key, objective = trials.search, trial.preview.key, trials.search.goal.objective
    known = next((number for number, record in search.records.items() if record.key == key), None)
    same = next((each for each in trials.training if each.preview.key == key), None)
    if known is not None:
        tell_repeat(trials, trial.draw, known)
    elif same is not None:
        same.followers.append(trial.draw)
    elif not (objective.broken(trial.preview) or objective.unmeasured(trial.preview)):
        train(trials, trial)
    else:
        tell(trials, trial.draw, judged(trial.preview, objective, trial.recipe, trial.draw.index))


def _previewed(search: Search, drawn: Draw, recipe: Recipe) -> tuple[Recipe, Record]:
    """The recipe with as much of the filled knob as the size budget has room for, and its preview."""
    search.doing(drawn.number, Progress("preview"))
    if drawn.variant_of is None:
        recipe = filled(search.builder, search.space, recipe, search.goal.objective.hard)
    else:
        recipe = search.space.filled_as(recipe, search.records[drawn.variant_of].recipe)
    return recipe, search.builder.preview(recipe)

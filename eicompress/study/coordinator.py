"""The coordinator of a search: ask, preview, build, record, tell, and at the end rebuild the best at full length.

It alone asks and tells. What it does it reports as events, through one callback. Whatever interrupts it, the same
call goes on: a recipe that has a record is never built again.
"""

from eicompress.errors import BudgetError, Crashed, EicompressError, StudyError
from eicompress.metrics.quality import QUALITY_TEST
from eicompress.metrics.size import SIZE
from eicompress.study.drawing import draw, enqueue_variants
from eicompress.study.events import Planned, SearchEnded
from eicompress.study.hand_out import hand_out_simple
from eicompress.study.open_trials import OpenTrials, open_trials
from eicompress.study.ranking import count, heaviest_parts
from eicompress.study.reach import check_reachable
from eicompress.study.rebuilding import promote
from eicompress.study.result import Result, result_of
from eicompress.study.resume import recover
from eicompress.study.search import Search
from eicompress.study.streaks import REPEATS
from eicompress.study.time_keeping import trial_seconds
from eicompress.study.trial_training import compare, go_on, take_in
from eicompress.values import OUT_OF_TIME, counted


def run_search(search: Search) -> Result:
    """Search, then promote. Raises `BudgetError` where no candidate meets, or can meet, the budgets."""
    ledger, goal = search.ledger, search.goal
    search.started, search.seconds_before = search.clock(), ledger.seconds() + search.prepared_s
    try:
        begin(search)
        known = _known_end(search)
        ended = known or _out_of_reach(search) or draw_and_train(search)
        search.on_event(SearchEnded(ended, finished_before=bool(known)))
        promote(search, finished_before=bool(known))
        ledger.set_ended({"reason": ended, **goal.end})
        hand_out_simple(search)
    finally:
        ledger.set_seconds(search.seconds)
    result = result_of(ledger, goal.objective)
    if result.best is None:
        raise _nothing_fits(result, out_of_time=search.time_left.seconds <= 0)
    return result


def begin(search: Search) -> None:
    """Record the baselines, and finish what an earlier coordinator of the study left."""
    ledger, baseline = search.ledger, search.builder.baseline()
    ledger.set_baseline(baseline)
    ledger.set_metrics(search.goal.objective.known.values())
    _set_simple(search)
    recovered = recover(ledger, search.goal.objective)
    ledger.enqueue_known(search.space)
    search.records = ledger.records()
    search.on_event(Planned(baseline, count(search.records.values()), recovered, search.best, search.seconds))


def draw_and_train(search: Search) -> str:
    """Draw while a worker is free, tell what becomes of it, until something ends the search; what it was."""
    trials = open_trials(search)
    try:
        while True:
            enqueue_variants(trials)
            ended = _ended(trials)
            if trials.going_on and search.workers.free:
                go_on(trials, trials.going_on.pop(0))
            elif not ended and search.workers.free:
                draw(trials)
            elif trials.running:
                take_in(trials, search.wait())
            elif trials.waiting:
                compare(trials, trials.at_rung(min(each.rung for each in trials.waiting)))
            else:
                return ended
    except KeyboardInterrupt:
        for drawn in trials.open.values():
            trials.draws.interrupt(drawn)
        raise


def _ended(trials: OpenTrials) -> str:
    """Why nothing more is drawn, or an empty string."""
    search, goal = trials.search, trials.search.goal
    if streak := trials.streaks.ended():
        return streak
    if search.good_enough:
        return f"a candidate within budget has a quality of {goal.stop_at:g}, as asked"
    if trials.streaks.repeats >= REPEATS and trials.never_drawn is None:
        return "the search space is exhausted: every recipe of it was drawn"
    reached = count(search.records.values()).reached + len(trials.training)
    # What needs no training of its own does not count.
    variant = bool(search.space.after_training) and trials.draws.variant_waits()
    if goal.trials is not None and reached >= goal.trials and not variant:
        return f"{counted(reached, 'candidate')} reached training, as asked"
    left, needed_s = search.time_left, trial_seconds(search.trained)
    if left.allows_search(needed_s):
        return ""
    return OUT_OF_TIME if left.seconds <= 0 else f"no time was left for another candidate of about {needed_s:.0f} s"


def _set_simple(search: Search) -> None:
    """Record the simple baselines, except one that already is the result of the study."""
    known = search.ledger.simple()
    for name, record in search.builder.simple(search.goal.objective.hard.get(SIZE)).items():
        if name not in known or known[name].value(QUALITY_TEST) is None:
            search.ledger.set_simple(name, record)


def _known_end(search: Search) -> str:
    """Why there is nothing to search, if the search had ended before for the same goal."""
    ended = search.ledger.ended()
    same = ended and {**ended, **search.goal.end} == ended
    return str(ended["reason"]) if same else ""


def _out_of_reach(search: Search) -> str:
    """Why there is nothing to search, where only a simple baseline is within the budgets.

    Raises `BudgetError` where nothing can be.
    """
    if search.best is not None or search.time_left.seconds <= 0:
        return ""
    try:
        check_reachable(search.builder, search.space, search.goal.objective)
    except Crashed:
        pass  # which the trials that use it tell
    except BudgetError as error:
        if result_of(search.ledger, search.goal.objective).best_simple is None:
            raise
        return str(error).rstrip(".")
    return ""


def _nothing_fits(result: Result, *, out_of_time: bool) -> EicompressError:
    nearest = result.nearest
    if nearest is None and out_of_time:
        return StudyError(
            "a search must have the time to train a candidate, but had not, and no simple baseline is within the "
            "budgets: give a longer `--timeout`, or fewer rows with `--rows`; `eicompress plan` says how much is enough"
        )
    if nearest is None:
        reasons = [record.reason.strip().splitlines()[-1] for record in result.records.values() if record.reason]
        return StudyError(f"no candidate could be built ({result.ended}); the last one: {(reasons or ['-'])[-1]}")
    number, record = nearest
    return BudgetError(
        f"no candidate met the budget ({result.ended}). The nearest is trial {number}: "
        f"{result.objective.compared(record)}; "
        f"most of it is {heaviest_parts(record, 3)}. Give a larger budget, or more time."
    )

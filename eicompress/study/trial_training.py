"""The training of a trial after its draw: rung by rung, until it is stopped early or finished."""

from collections.abc import Sequence
from dataclasses import replace

from eicompress.study.halving import (
    Arrival,
    Gains,
    beyond_mending,
    compared,
    cost_s,
    goes_on,
    is_control,
)
from eicompress.study.open_trials import OpenTrial, OpenTrials, end
from eicompress.study.outcomes import after, completed, judged, trained
from eicompress.study.promotion import LONGER
from eicompress.study.search import Search
from eicompress.values import OUT_OF_TIME, Done, Record


def train(trials: OpenTrials, trial: OpenTrial) -> None:
    """Give the trial to a worker, for its next training."""
    search = trials.search
    trials.running[trial.number] = trial
    search.workers.submit(search.job(trial.number, trial.steps, trial.next_length))


def go_on(trials: OpenTrials, trial: OpenTrial) -> None:
    """Train the trial for longer, unless what ended meanwhile makes that needless."""
    reason = needless(trials.search, trial)
    if reason:
        end(trials, trial, _record(trials.search, trial, reason))
    else:
        train(trials, trial)


def take_in(trials: OpenTrials, done: Done) -> None:
    """Process the result of a worker's job."""
    search, trial = trials.search, trials.running[done.job.number]
    if done.fate == "lost" and trials.draws.restart(trial.draw):
        search.notice(f"trial {trial.number} starts again: {done.reason}")
        search.workers.submit(done.job)
        return
    del trials.running[trial.number]
    if done.fate == "out of time":
        _stop(trials, trial)
        return
    if done.record is None:
        end(trials, trial, _unmade(search, trial, done))
        return
    trial.trainings.append(replace(completed(done.record, trial.preview), key=trial.preview.key))
    if trial.finished:
        end(trials, trial, _record(search, trial))
    elif len(trial.trainings) <= trial.draw.passed:
        trials.going_on.append(trial)
    elif beyond_mending(trial.last, search.goal.objective):
        compare(trials, [trial])
    else:
        trials.waiting.append(trial)
        _arrive(trials, trial)


def compare(trials: OpenTrials, compared_now: Sequence[OpenTrial]) -> None:
    """End those that are behind others at their rung, and those that are long enough for now; the others go on."""
    reasons = {trial: "" for trial in compared_now if _long_enough(trials.search, trial)}
    rest = [each for each in compared_now if each not in reasons]
    reasons |= {trial: reason for trial in rest if (reason := _stopped(trials, trial))}
    trials.waiting = [each for each in trials.waiting if each not in compared_now]
    for trial in compared_now:
        if trial not in reasons:
            trials.draws.passes(trial.draw, len(trial.trainings))
            trials.going_on.append(trial)
    for trial, reason in reasons.items():
        end(trials, trial, _record(trials.search, trial, reason))


def _long_enough(search: Search, trial: OpenTrial) -> bool:
    """Whether a trial is a result although it could be trained for longer.

    The first is, where the time that is left would not be enough for its next training and then for a rebuild that is
    clearly longer: the rebuild gets all of it. Others are then compared with it at the same length.
    """
    last, best = trial.last, search.best
    # What was scored on some of the validation texts has no artifact yet.
    if last.only_shared or beyond_mending(last, search.goal.objective):
        return False
    if best is not None:
        return best.fidelity <= last.fidelity
    return search.time_left.seconds < (1 + LONGER) * _next_s(trial)


def _next_s(trial: OpenTrial) -> float:
    """Seconds of its next training."""
    return cost_s(trial.last) * trial.next_length / trial.last.fidelity


def needless(search: Search, trial: OpenTrial) -> str:
    """Why no trial gets a longer training any more, however good it is, or an empty string."""
    last = trial.last
    if search.good_enough:
        return f"not needed any more {after(last)}"
    time_left = search.time_left
    if not time_left.allows_search(_next_s(trial)):
        return f"no time was left {after(last)}"
    return ""


def _stop(trials: OpenTrials, trial: OpenTrial) -> None:
    """Leave a trial at the end of the search: with what its earlier trainings came to, or to be drawn again when the
    study goes on, with its training where it was."""
    if trial.trainings:
        end(trials, trial, _record(trials.search, trial, f"no time was left {after(trial.last)}"))
        return
    for draw in (trial.draw, *trial.followers):
        trials.draws.interrupt(draw)
    trials.search.notice(f"the training of trial {trial.number} was stopped: {OUT_OF_TIME}")


def _arrive(trials: OpenTrials, trial: OpenTrial) -> None:
    """Compare the trials that must be compared after a trial has reached a rung."""
    who = compared(_arrival(trials, trial), hurry=trials.search.time_left.in_a_hurry)
    if who == "all":
        compare(trials, trials.at_rung(trial.rung))
    elif who == "alone":
        compare(trials, [trial])
    else:
        trials.draws.interrupt(trial.draw)


def _arrival(trials: OpenTrials, trial: OpenTrial) -> Arrival:
    return Arrival(
        rung=trial.rung,
        gains=trials.search.goal.objective.gains(trial.last),
        others=_others(trials, trial),
        one_of=trials.search.space.one_of(trial.rung),
        given=trial.draw.known or (trial.last.only_shared and is_control(trial.draw.index)),
    )


def _others(trials: OpenTrials, trial: OpenTrial) -> list[Gains]:
    """What the others gained at a trial's rung, but for those that are over budget however well they learn."""
    objective, rung = trials.search.goal.objective, trial.rung
    open_ones = [
        objective.gains(each.trainings[rung])
        for each in trials.training
        if each is not trial and each.rung >= rung and not beyond_mending(each.last, objective)
    ]
    return open_ones + [gains[rung] for gains in trials.gains.values() if len(gains) > rung]


def _stopped(trials: OpenTrials, trial: OpenTrial) -> str:
    """Why a trial gets no longer training, or an empty string."""
    if beyond_mending(trial.last, trials.search.goal.objective):
        return f"over budget {after(trial.last)}"
    if reason := needless(trials.search, trial):
        return reason
    return "" if goes_on(_arrival(trials, trial)) else f"behind others {after(trial.last)}"


def _record(search: Search, trial: OpenTrial, stopped: str = "") -> Record:
    """The record of a trial whose trainings are over, or were `stopped` for that reason.

    What it came to is a result all the same where the time of the search is over and there is no other.
    """
    objective, left = search.goal.objective, search.time_left
    record = trained(trial.trainings, variant_of=trial.draw.variant_of, in_rungs=len(trial.lengths) > 1)
    found = judged(record, objective, trial.recipe, trial.draw.index)
    last_chance = left.in_a_hurry and left.seconds <= 0 and "artifact" in record.files
    early = stopped and not beyond_mending(record, objective) and not last_chance
    return replace(found, outcome="stopped early", reason=stopped) if early else found


def _unmade(search: Search, trial: OpenTrial, done: Done) -> Record:
    """The record of a trial whose job failed."""
    if done.fate == "inapplicable":
        return search.unbuilt(trial.recipe, trial.draw.index, "inapplicable", done.reason)
    return replace(search.unbuilt(trial.recipe, trial.draw.index, "failed", done.reason), trained=True)

"""When the search is over: the best trials are compared once more, and the best of them rebuilt and handed out."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace

from eicompress.errors import EicompressError
from eicompress.metrics.quality import QUALITY
from eicompress.study.events import Comparing, Promoting
from eicompress.study.hand_out import hand_out_as_it_is, hand_out_rebuild
from eicompress.study.noise import near_the_best
from eicompress.study.outcomes import completed, judged, share_text
from eicompress.study.promotion import CAUTION, LATE, PromotionRung, ahead_of_rebuilds, promotion_rung, survivors
from eicompress.study.ranking import ranked
from eicompress.study.result import result_of
from eicompress.study.search import Search
from eicompress.study.time_keeping import Cost
from eicompress.values import Record


def promote(search: Search, *, finished_before: bool) -> None:
    """Compare the best after a longer training, rebuild the best of them at full fidelity, with more seeds as time
    allows, and measure what is handed out on the test split.

    What is good enough as it is, is not built again.
    """
    done = {(number, each.seed) for number, rebuilds in search.ledger.rebuilds().items() for each in rebuilds}
    for number, record in search.good_enough[:1]:
        if (number, record.seed) not in done and number not in search.ledger.kept():
            hand_out_as_it_is(search, number, record)
        return
    compared = _compared(search, _promotion_rung(search, finished_before=finished_before))
    best = survivors(_wanted(search, compared), _wanted(search, search.records), search.goal.objective)
    seeds = range(search.goal.seed, search.goal.seed + search.most_seeds)
    for place, (seed, (number, record)) in enumerate(itertools.product(seeds, best)):
        if (number, seed) in done:
            continue
        fidelity = _length(search, record, place, len(best))
        if not fidelity:
            break
        search.on_event(Promoting(number, fidelity, tuple(step.name for step in search.space.finish)))
        try:
            made = search.build(search.job(number, search.space.finished(record.recipe), fidelity, seed))
            hand_out_rebuild(search, number, record, made)
        except EicompressError as error:
            search.notice(f"trial {number} could not be rebuilt: {error}")
    _hand_out_what_is_ahead(search)


def _length(search: Search, record: Record, place: int, count: int) -> float:
    """The share of the full length that a trial is rebuilt at, the one at this place in turn; 0 for not at all.

    Of the steps that finish parts of a shared training, all `count` of them get as much as there is time for.
    """
    left = search.time_left
    if left.limit_s == math.inf:
        return 1.0
    if left.seconds <= 0:
        return 0.0
    if search.space.finish:
        # The teacher's answers to texts that nothing has read yet come on top.
        cost = Cost(search.rebuild_seconds(record) * max(1, count - place))
        fidelity = left.affordable_fidelity(cost, caution=CAUTION)
        return fidelity if place < count or fidelity == 1.0 else 0.0
    cost = search.longer_cost(record)
    # Asked again, since estimating takes seconds too.
    fidelity = search.time_left.affordable_fidelity(cost, caution=LATE)
    return 0.0 if fidelity < 1.0 and (place or fidelity <= record.fidelity) else fidelity


def _promotion_rung(search: Search, *, finished_before: bool) -> PromotionRung:
    """Which trials are compared, and how long they are trained for it; decided once for a goal."""
    decided = search.ledger.promotion()
    if decided.get("goal") == search.goal.end:
        return PromotionRung(decided["length"], tuple(decided["trials"]))
    if finished_before:
        return PromotionRung()
    rung = promotion_rung(
        _wanted(search, search.records),
        _given(search),
        search.goal.objective,
        search.space.fidelity,
        search.time_left.seconds,
        search.training_seconds,
    )
    search.ledger.set_promotion({"goal": search.goal.end, "length": rung.length, "trials": list(rung.trials)})
    return rung


def _compared(search: Search, rung: PromotionRung) -> dict[int, Record]:
    """The trials of the promotion rung after their training for it, without those that could not be trained."""
    known = search.ledger.compared(rung.length)
    for number in rung.trials:
        trial = search.records[number]
        if number in known or not search.time_left.allows(search.training_seconds(trial, rung.length)):
            continue
        search.on_event(Comparing(number, rung.length))
        try:
            made = completed(search.build(search.job(number, trial.recipe, rung.length)), trial)
        except EicompressError as error:
            search.notice(f"trial {number} could not be trained for longer: {error}")
            continue
        record = judged(made, search.goal.objective, search.registry.recipe(trial.recipe), trial.draw)
        known[number] = replace(record, recorded_s=round(search.seconds, 1))
        search.ledger.compare(number, known[number])
        search.ledger.set_seconds(search.seconds)
    found = {number: known[number] for number in rung.trials if number in known}
    if found:
        search.notice(_comparison(rung.length, found, _given(search)))
    return found


def _wanted(search: Search, records: Mapping[int, Record]) -> Mapping[int, Record]:
    """The records; where the smallest or the fastest is wanted, those that are not certainly worse than the best."""
    if not search.goal.objective.least:
        return records
    return near_the_best(dict(ranked(records, search.goal.objective)), search.ledger.baseline(), search.ledger.folder)


def _given(search: Search) -> set[int]:
    """The trials of given recipes, also if the sampler drew them first."""
    ended = search.ledger.given() & search.records.keys()
    firsts = ((number, search.records[number].repeat_of) for number in ended)
    return {number if repeat_of is None else repeat_of for number, repeat_of in firsts}


def _comparison(length: float, compared: Mapping[int, Record], given: set[int]) -> str:
    order = sorted(compared.items(), key=lambda each: -(each[1].value(QUALITY) or 0.0))
    parts = [
        f"trial {number}{' (given)' if number in given else ''} {record.value(QUALITY) or 0.0:.4f}"
        for number, record in order
    ]
    return f"compared after {share_text(length)} of the full training: {', '.join(parts)}"


def _hand_out_what_is_ahead(search: Search) -> None:
    """Hand out as they are the trials that rebuilding made worse, and the best if no rebuild is ahead of it."""
    result = result_of(search.ledger, search.goal.objective)
    for number, record in ahead_of_rebuilds(result.promoted, result.before_rebuilding, search.goal.objective).items():
        try:
            hand_out_as_it_is(search, number, record)
        except EicompressError as error:
            search.notice(f"trial {number} could not be handed out as it was: {error}")
    if search.goal.objective.least:
        _hand_out_least(search)


def _hand_out_least(search: Search) -> None:
    """Hand out the smallest or the fastest within noise of the best; once measured with care it may be another."""
    for _ in range(search.goal.objective.rebuilds):
        result = result_of(search.ledger, search.goal.objective)
        if result.best_candidate is None or result.best_candidate[0] in result.promoted:
            return
        number, record = result.best_candidate
        try:
            hand_out_as_it_is(search, number, record)
        except EicompressError as error:
            return search.notice(f"trial {number} could not be handed out as it was: {error}")

"""The results of a search: artifacts of trials or simple baselines, measured carefully and copied for users."""

from dataclasses import replace
from pathlib import Path

from eicompress.errors import EicompressError
from eicompress.export.folder import copy
from eicompress.metrics.quality import QUALITY_TEST
from eicompress.study.events import Promoted
from eicompress.study.outcomes import judged
from eicompress.study.ranking import best_of
from eicompress.study.result import result_of
from eicompress.study.search import Search
from eicompress.values import Artifact, Record


def hand_out_as_it_is(search: Search, number: int, record: Record) -> None:
    """Make a trial's own artifact a result. Raises `EicompressError`."""
    made = _timed(search, record, _with_artifact(search, number, record))
    _rename_rebuild(search, number)
    kept = _placed(search, made, _name(number))
    search.ledger.keep(number, kept)
    search.on_event(Promoted(number, kept, rebuilt=False))


def hand_out_rebuild(search: Search, number: int, trial: Record, made: Record) -> None:
    """Hand out a rebuild; one that is behind its trial leaves the trial's name free. Raises `EicompressError`."""
    rebuilt, name = _timed(search, trial, made), _name(number)
    if made.seed != search.goal.seed:
        name += f"-seed-{made.seed}"
    elif best_of([rebuilt, trial, search.records[number]], search.goal.objective) is not rebuilt:
        name += "-rebuilt"
    else:
        # What a shorter search had kept under this name makes way.
        search.ledger.forget_kept(number)
    placed = replace(_placed(search, rebuilt, name), recorded_s=round(search.seconds, 1))
    search.ledger.promote(number, placed)
    search.on_event(Promoted(number, placed))


def hand_out_simple(search: Search) -> None:
    """Where a simple baseline is what to ship, measure it as what is rebuilt, put it beside that, and say so."""
    result = result_of(search.ledger, search.goal.objective)
    if not result.verdict or result.best is None:
        return
    name, record = str(result.best[0]), result.best[1]
    if record.value(QUALITY_TEST) is None:
        try:
            search.ledger.set_simple(name, _placed(search, record, name.replace(" ", "-")))
        except EicompressError as error:
            search.notice(f"{name} could not be handed out: {error}")
    search.notice(result.verdict)


def _name(number: int) -> str:
    return f"trial-{number:04d}"


def _rename_rebuild(search: Search, number: int) -> None:
    """Leave the trial's name free where a rebuild has it that has fallen behind since."""
    folder = search.ledger.folder / "artifacts" / _name(number)
    for rebuild in search.ledger.rebuilds().get(number, ()):
        if Path(rebuild.files.get("artifact", "")) == folder and folder.is_dir():
            moved = copy(Artifact(folder), folder.with_name(f"{folder.name}-rebuilt"))
            files = {**rebuild.files, "artifact": str(moved.folder)}
            search.ledger.promote(number, replace(rebuild, files=files))


def _timed(search: Search, trial: Record, made: Record) -> Record:
    """What was made of a trial's recipe, its latency taken with care, compared with the budgets."""
    recipe = search.registry.recipe(made.recipe)
    return judged(search.builder.timed(made), search.goal.objective, recipe, trial.draw)


def _placed(search: Search, record: Record, name: str) -> Record:
    """The record with all measurements of a result, and its artifact copied to the folder for users."""
    measured = search.builder.promote_extras(record, search.time_left.seconds)
    if measured.facts.get("baseline", {}).get(QUALITY_TEST, 0.0) is None:
        search.notice(
            "no time was left to measure the baseline on the test split: the result's quality there stands alone"
        )
    artifact = copy(Artifact(Path(measured.files["artifact"])), search.ledger.folder / "artifacts" / name)
    return replace(measured, files={**measured.files, "artifact": str(artifact.folder)})


def _with_artifact(search: Search, number: int, record: Record) -> Record:
    """The record with an artifact that is there: built again where it was removed. Raises `StudyError`."""
    artifact = Artifact(Path(record.files.get("artifact", "removed")))
    if artifact.onnx.is_file() and artifact.manifest.is_file():
        return record
    return search.build(search.job(number, record.recipe, record.fidelity, record.seed), limited=False)

"""What is done with a study: search, plan, show, report and dashboard."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from eicompress.api.opening import check_new, known, nothing, scratch
from eicompress.declaration import checked
from eicompress.settings import PORT, SearchSettings, StudiesFolder
from eicompress.values import Progress

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from optuna.trial import FrozenTrial

    from eicompress.reporting.data import Numbers
    from eicompress.study.events import Event
    from eicompress.study.forecast import Forecast
    from eicompress.study.plan import Plan
    from eicompress.study.result import Result


def search(
    *,
    on_event: "Callable[[Event], None] | None" = None,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Unpack[SearchSettings],
) -> "Result":
    """Search for the best artifact within budget.

    A study that exists already goes on, and needs no more than its name: it remembers `plugin` too. Without `trials`
    and `timeout` a search takes two hours. `workers` is how many processes train; 0 for none but this one. With
    `engine="ray"` they run on a Ray cluster. Raises `SpecError`, `DataError`, `ModelError`, `BudgetError` and
    `StudyError`.
    """
    from eicompress.study.plan import planned

    return run(planned(settings), on_event or nothing, on_progress or nothing)


def plan(on_progress: Callable[[Progress], None] | None = None, **settings: Unpack[SearchSettings]) -> "Forecast":
    """What a search asked for in the words of `search` will meet: what fits, what is reachable, what a training takes.

    Nothing is trained but a teacher, where the model has no head for the task. Raises as `search` does.
    """
    from eicompress.study.plan import planned

    return foreseen(planned(settings), on_progress or nothing)


def foreseen(
    plan: "Plan", on_progress: Callable[[Progress], None], on_event: "Callable[[Event], None] | None" = None
) -> "Forecast":
    """What a planned search will meet. Raises `BudgetError` where no candidate can meet the budgets."""
    from eicompress.study.run import foreseen

    return foreseen(plan, scratch(), on_event or nothing, on_progress)


def run(plan: "Plan", on_event: "Callable[[Event], None]", on_progress: Callable[[Progress], None]) -> "Result":
    """Run or go on with a planned search."""
    from eicompress.reporting.files import report_and_cards
    from eicompress.study.run import run

    return run(plan, on_event, on_progress, report_and_cards)


def show(study: str, **where: Unpack[StudiesFolder]) -> "Result":
    """What a study has found so far. Raises `SpecError` and `StudyError`."""
    from eicompress.study.plan import found_so_far

    return found_so_far(known(study, checked(StudiesFolder, where)))


def report(
    study: str,
    *,
    output: str | Path | None = None,
    png: str | Path | None = None,
    **where: Unpack[StudiesFolder],
) -> Path:
    """Write what a study has found as one HTML file, `report.html` in its folder by default; the file's path.

    `png` is a folder for its figures one by one, which takes Chromium or Chrome. It loads no model and changes nothing
    else, so it may be written while the search runs. Raises `SpecError` and `StudyError`.
    """
    from eicompress.reporting.figures import drawn
    from eicompress.reporting.files import numbers_of, write_report
    from eicompress.reporting.png import write_pictures
    from eicompress.study.store import read_ledger

    spec = known(study, checked(StudiesFolder, where))
    if output is not None:
        check_new(output)
    ledger = read_ledger(spec.folder)
    if png is not None:
        write_pictures(drawn(numbers_of(ledger, spec)), Path(png))
    # Last, since the same command refuses an output that is there.
    return write_report(ledger, spec, Path(output) if output is not None else None)


def dashboard(study: str, *, port: int = 8080, **where: Unpack[StudiesFolder]) -> "WSGIServer":
    """A server of the study's dashboard on this machine, to `serve_forever`; it follows a search that runs.

    It reads the study and writes nothing. Raises `SpecError` and `StudyError`.
    """
    from eicompress.reporting.dashboard import Mirror, serving
    from eicompress.reporting.files import numbers_of
    from eicompress.study.store import read_ledger

    port = PORT(port, "--port")
    spec = known(study, checked(StudiesFolder, where))
    ledger = read_ledger(spec.folder)

    def read() -> "tuple[Numbers, list[FrozenTrial]]":
        return numbers_of(ledger, spec), ledger.study.get_trials(deepcopy=False)

    return serving(Mirror(read, ledger.version), port)

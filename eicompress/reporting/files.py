"""What a study has found, written: the page of its report, and the cards of its artifacts."""

import itertools
from pathlib import Path

from eicompress.cache import write_whole
from eicompress.errors import StudyError
from eicompress.metrics.quality import QUALITY_TEST
from eicompress.reporting.data import Numbers, numbers
from eicompress.reporting.page import page
from eicompress.spec import Spec
from eicompress.study.importance import importance
from eicompress.study.ledger import Ledger
from eicompress.study.plan import objective_of
from eicompress.study.result import REPORT, result_of
from eicompress.values import Artifact, Json


def numbers_of(ledger: Ledger, spec: Spec) -> Numbers:
    """The numbers that a report of a study says and draws."""
    result = result_of(ledger, objective_of(spec, ledger.metrics()))
    return numbers(result, importance(ledger.study), {**spec.to_toml(), **length_of(ledger.ended())})


def length_of(ended: Json) -> Json:
    """The settings that end a search, in the words of its flags, as the search that ended was given them."""
    found: dict[str, object] = {name: ended[name] for name in ("trials", "stop_at") if ended.get(name) is not None}
    if ended.get("timeout_s") is not None:
        found["timeout"] = f"{ended['timeout_s']:g}s"
    return found


def write_report(ledger: Ledger, spec: Spec, output: Path | None = None) -> Path:
    """Write the report of a study, by default into its folder, and return its path. Raises `StudyError`."""
    path = output or ledger.folder / REPORT
    write_page(path, page(numbers_of(ledger, spec)))
    return path


def report_and_cards(ledger: Ledger, spec: Spec) -> str:
    """Write report and cards, and say so: a search of hours does not end in a traceback for the sake of its report."""
    try:
        _write_cards(ledger, spec)
        return f"what was tried is drawn in {write_report(ledger, spec)}"
    except Exception as error:
        return f"the report could not be written: {error}"


def write_page(path: Path, text: str) -> None:
    """Write an HTML file, and the folder for it. Raises `StudyError`."""
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise StudyError(f"`{path}` must be a place to write to, but: {error.strerror}") from error


def _write_cards(ledger: Ledger, spec: Spec) -> None:
    """Write the model card of each artifact that is handed out beside it."""
    # It runs artifacts, which a report alone does not.
    from eicompress.reporting.model_card import write_card

    simple = [each for each in ledger.simple().values() if each.value(QUALITY_TEST) is not None]
    rebuilds = itertools.chain.from_iterable(ledger.rebuilds().values())
    for record in (*simple, *rebuilds, *ledger.kept().values()):
        artifact = Artifact(Path(record.files.get("artifact", "")))
        if (artifact.folder / "config.json").is_file():
            write_card(artifact, record, ledger.baseline(), spec.to_toml(), ledger.metrics())

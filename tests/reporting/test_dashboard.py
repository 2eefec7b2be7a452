import io
import json
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from browser import browser, needs_browser
from fake_builder import Bed, Bench, bed
from optuna.trial import FrozenTrial, create_trial
from test_report_data import found, said, trial

from eicompress import api
from eicompress.errors import SpecError, StudyError
from eicompress.recipe import Recipe
from eicompress.reporting import dashboard
from eicompress.reporting.dashboard import CONSTRAINTS, ArtifactFiles, Copy, Mirror, _study_note, serving
from eicompress.reporting.data import Numbers, numbers
from eicompress.study.result import result_of
from eicompress.study.store import read_ledger

pytest.importorskip("optuna_dashboard", reason="needs eicompress[dashboard]")


@contextmanager
def served(made: Bed) -> Iterator[str]:
    """The address of a study's dashboard."""
    ledger = read_ledger(made.root / "study")

    def read() -> tuple[Numbers, list[FrozenTrial]]:
        found = numbers(result_of(ledger, made.goal.objective), {}, {})
        return found, ledger.study.get_trials(deepcopy=False)

    server = serving(Mirror(read, ledger.version), 0)
    assert server.server_address[0] == "127.0.0.1"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fetched(url: str) -> bytes:
    with urlopen(url, timeout=30) as answer:
        found: bytes = answer.read()
    return found


def test_the_dashboard_shows_what_became_of_each_trial(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=5)
    result = made.run(Bench(tmp_path / "made"))
    (tmp_path / "study" / "report.html").write_text("the report")
    with served(made) as url:
        answered = json.loads(fetched(f"{url}/api/studies/0"))
        trials = answered["trials"]
        files = {
            each["filename"]: fetched(f"{url}/artifacts/0/0/{each['artifact_id']}") for each in trials[0]["artifacts"]
        }
    assert answered["objective_names"] == ["quality on validation"]
    assert "The best artifact is" in answered["note"]["body"]
    figures = {each["id"] for each in answered["plotly_graph_objects"]}
    assert {"quality-against-bytes", "best-over-time"} <= figures
    steps = [line for line in trials[0]["note"]["body"].splitlines() if line.startswith("- ")]
    assert len(steps) == len(result.records[0].recipe), "a step is a line, however long"
    assert len(trials) == len(result.records)
    over = [number for number, record in result.records.items() if record.outcome == "over budget"]
    infeasible = [each["number"] for each in trials if any(value > 0 for value in each["constraints"])]
    assert infeasible == over and over
    # The state in which the dashboard asks for the constraints.
    assert all(each["state"] == "Complete" for each in trials)
    assert all(trials[number]["note"]["body"].startswith("**Over budget**") for number in over)
    assert all({"key": "outcome", "value": "over budget"} in trials[number]["user_attrs"] for number in over)
    assert not {each["number"] for each in answered["best_trials"]} & {*over}
    assert set(files) == {"artifact.zip", "recipe.toml", "report.html"}
    assert zipfile.ZipFile(io.BytesIO(files["artifact.zip"])).namelist() == ["onnx/model.onnx"]
    assert b"[[steps]]" in files["recipe.toml"]


def test_what_is_over_budget_is_never_the_best() -> None:
    storage = Copy()
    study = optuna.create_study(storage=storage, direction="maximize")
    for value, over in ((0.8, -0.1), (0.9, 0.1)):
        study.add_trial(create_trial(value=value, system_attrs={CONSTRAINTS: [over]}))
    assert storage.get_best_trial(0).value == 0.8


@pytest.mark.parametrize("directions", [["maximize"], ["maximize", "minimize"]])
def test_where_nothing_is_within_budget_nothing_is_the_best(directions: list[str]) -> None:
    def best(*constraints: float) -> list[int]:
        storage = Copy()
        study = optuna.create_study(storage=storage, directions=directions)
        for over in constraints:
            study.add_trial(create_trial(values=[0.9] * len(directions), system_attrs={CONSTRAINTS: [over]}))
        environ: dict[str, object] = {"PATH_INFO": "/api/studies/0"}
        setup_testing_defaults(environ)
        body = b"".join(dashboard.served(storage, ArtifactFiles())(environ, lambda *_: None))  # type: ignore[arg-type, return-value]
        return [each["number"] for each in json.loads(body)["best_trials"]]

    assert best(0.1) == []
    assert best(0.1, -0.1) == [1]


@pytest.mark.parametrize(
    ("method", "host", "path", "status"),
    [
        ("DELETE", "127.0.0.1", "/", 405),
        ("PUT", "localhost", "/", 405),
        ("GET", "a.example", "/", 403),
        ("GET", "localhost", "/static/../../x", 404),
        ("GET", "localhost", "/..", 404),
        ("GET", "localhost", "/artifacts/9/0/0-0", 404),
    ],
)
def test_the_copy_is_only_looked_at_and_only_from_here(method: str, host: str, path: str, status: int) -> None:
    def never() -> tuple[Numbers, list[FrozenTrial]]:
        raise AssertionError("nothing is read for a request that is refused")

    answered: list[str] = []
    environ = {"REQUEST_METHOD": method, "HTTP_HOST": f"{host}:8080", "PATH_INFO": path}
    Mirror(never, lambda: 0)(environ, lambda line, headers: answered.append(line))  # type: ignore[arg-type, return-value]
    assert answered[0].startswith(str(status))


def test_a_study_that_cannot_be_read_is_said_on_the_page() -> None:
    def damaged() -> tuple[Numbers, list[FrozenTrial]]:
        raise StudyError("`study.db` is damaged")

    environ, answered = {"REQUEST_METHOD": "GET", "HTTP_HOST": "localhost", "PATH_INFO": "/"}, []
    body = Mirror(damaged, lambda: 0)(environ, lambda line, headers: answered.append(line))  # type: ignore[arg-type, return-value]
    assert (answered, [*body]) == (["500 Internal Server Error"], [b"error: `study.db` is damaged"])


def test_a_port_in_use_is_the_users_to_mend() -> None:
    with socket.socket() as taken, pytest.raises(SpecError, match="choose another"):
        taken.bind(("127.0.0.1", 0))
        serving(Mirror(lambda: pytest.fail("not read"), lambda: 0), taken.getsockname()[1])


@pytest.mark.parametrize("port", [-1, 65_536, 10**30])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(SpecError, match=f"must be a number from 0 to 65535, but got {port}"):
        serving(Mirror(lambda: pytest.fail("not read"), lambda: 0), port)


def test_the_command_serves_a_study(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=1)
    made.run(Bench(tmp_path / "made"))
    (tmp_path / "study" / "study.toml").write_text('[asked]\nmodel = "m"\ndata = "d"\nbudget = "2MB"\n')
    with api.dashboard("study", port=0, studies=tmp_path) as server:
        threading.Thread(target=server.handle_request).start()
        assert b"study_summaries" in fetched(f"http://127.0.0.1:{server.server_port}/api/studies")


def test_two_metrics_that_are_traded_are_named_with_their_units(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=4, objective="pareto", metrics=("quality", "size_mb"))
    made.run(Bench(tmp_path / "made"))
    with served(made) as url:
        answered = json.loads(fetched(f"{url}/api/studies/0"))
    assert answered["objective_names"] == ["quality on validation", "size, MB"]
    assert all(len(each["values"]) == 2 for each in answered["trials"])


@needs_browser
@pytest.mark.slow
def test_a_browser_follows_a_search_that_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "REST", 0.1)
    made, opened = bed(tmp_path, trials=30), threading.Event()

    def waits(stage: str, recipe: Recipe, calls: int) -> None:
        # The second half of the search is written while a page is open.
        assert stage != "build" or calls < 15 or opened.wait(120)

    search = threading.Thread(target=made.run, args=(Bench(tmp_path / "made", waits),))
    search.start()
    try:
        while not made.trials_ended():
            search.join(0.1)
        with served(made) as url, browser() as window:
            window.open(f"{url}/dashboard/studies/0/trials")
            window.wait("return /\\d+ Trials/.test(document.body.innerText)")
            opened.set()
            search.join(120)
            result = result_of(read_ledger(made.root / "study"), made.goal.objective)
            window.open(f"{url}/dashboard/studies/0/trials")
            window.wait(f"return document.body.innerText.includes('{len(made.trials_ended())} Trials')")
            window.wait("return document.body.innerText.includes('artifact.zip')")
            over = next(number for number, each in result.records.items() if each.outcome == "over budget")
            window.open(f"{url}/dashboard/studies/0/trials?numbers={over}")
            window.wait("return document.body.innerText.includes('Over budget')")
            window.wait("return /outcome\\s*over budget/.test(document.body.innerText)")
            window.open(f"{url}/dashboard/studies/0")
            window.wait("return document.body.innerText.includes('Infeasible')")
            assert window.complaints() == []
    finally:
        opened.set()
        search.join()
    assert made.trials_ended()[-1].counts.trained == 30


def test_the_note_says_that_few_trials_rank_no_knobs() -> None:
    few, enough = (_study_note(said(found(*[trial(1.0, 0.5, 0.8)] * count))) for count in (5, 10))
    assert "5 trained trials are too few to rank knobs" in few and "rank knobs" not in enough

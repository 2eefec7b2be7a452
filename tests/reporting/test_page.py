import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from fake_builder import Bed, Bench, bed
from plotly.offline import get_plotlyjs
from test_mistakes import recorded
from test_public import loaded_by
from test_report_data import found, said, simple, trial

import eicompress
from eicompress import cli
from eicompress.answers import Labels
from eicompress.errors import BudgetError
from eicompress.reporting.data import numbers
from eicompress.reporting.page import page, plotly_js
from eicompress.study.importance import TRIALS_FOR_IMPORTANCE

HOSTILE = '"><script>alert(1)</script>'


def own(text: str) -> str:
    """The page without plotly's own code."""
    assert plotly_js() in text
    return text.replace(plotly_js(), "")


def test_plotly_is_compiled_at_once() -> None:
    """If this fails, plotly wraps its code otherwise: measure anew with studies/report_speed/run.py."""
    assert len(plotly_js()) == len(get_plotlyjs().rstrip()) + 2


def test_the_page_is_small_and_loads_nothing() -> None:
    text = page(said(found(trial(1.0, 0.5, 0.8), trial(3.0, 1.0, None))))
    assert len(text.encode()) < 7_000_000
    assert "http:" not in own(text) and "https:" not in own(text)
    assert "default-src 'none'" in text
    assert not re.findall(r"(?:src|href)=\"(?!data:)", own(text))


def test_what_users_wrote_is_escaped(tmp_path: Path) -> None:
    baseline, best = recorded(tmp_path)
    examples = {"texts": [HOSTILE] * 4, "targets": [0, 1, 0, 1], "answer": Labels((HOSTILE, "weather")).to_json()}
    (tmp_path / "files" / "examples.json").write_text(json.dumps(examples))
    hostile = trial(1.0, 0.5, 0.8, files={**best.files, "artifact": HOSTILE})
    hostile = replace(hostile, recipe=({"strategy": HOSTILE},), bytes_by_group={HOSTILE: 5}, versions={"a": HOSTILE})
    study = found(hostile, baseline=baseline, folder=tmp_path, ended=HOSTILE)
    data = numbers(study, {HOSTILE: 1.0}, {"model": HOSTILE})
    assert data.mistakes is not None
    text = own(page(replace(data, name=HOSTILE)))
    assert "alert(1)" in text
    assert "<script>alert" not in text and "</script>alert" not in text
    assert text.count("<script") == text.count("</script>")


@pytest.mark.parametrize(
    "study",
    [
        found(),
        found(baseline=None),
        found(trial(3.0, 1.0, None)),
        found(trial(2.5, 1.0, 0.9, outcome="over budget")),
        found(trial(1.0, 0.5, 0.8)),
        found(trial(1.0, 0.5, 0.8, measurements=()), ended="the time is used up"),
        found(trial(1.0, 0.5, 0.8), promoted={0: trial(1.0, 0.5, 1.0, fidelity=1.0)}),
    ],
    ids=["nothing", "no baseline", "nothing fits", "too large", "one trial", "crashed", "rebuilt"],
)
def test_every_study_has_a_page(study: eicompress.Result) -> None:
    text = own(page(said(study)))
    assert "<h1>mine</h1>" in text
    assert ("No candidate is within budget" in text) == (study.best is None)


def asked(made: Bed) -> str:
    """The study as the commands read it."""
    toml = made.root / "study" / "study.toml"
    toml.write_text('[asked]\nmodel = "m"\ndata = "d"\nbudget = "2MB"\nlatency = "2ms"\n')
    return str(made.root)


def test_the_command_writes_the_page_and_prints_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = bed(tmp_path, trials=TRIALS_FOR_IMPORTANCE)
    made.run(Bench(tmp_path / "made"))
    studies = asked(made)
    assert cli.run(["report", "study", "--studies", studies]) == 0
    written = Path(capsys.readouterr().out.strip())
    assert written == tmp_path / "study" / "report.html"
    text = written.read_text(encoding="utf-8")
    assert "PED-ANOVA" in text and "Rank correlation between 25.0% and 50.0%" in text
    assert eicompress.report("study", studies=studies, output=tmp_path / "new" / "one.html").is_file()


@pytest.mark.slow
def test_a_report_loads_no_model(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=TRIALS_FOR_IMPORTANCE)
    made.run(Bench(tmp_path / "made"))
    code = f"import eicompress\neicompress.report('study', studies={asked(made)!r})"
    assert loaded_by(code) == {"optuna"}


def test_a_study_with_nothing_within_budget_has_a_page(tmp_path: Path) -> None:
    made = bed(tmp_path, trials=2, budgets={"size_mb": 2.0, "latency_ms": 0.3})
    with pytest.raises(BudgetError):
        made.run(Bench(tmp_path / "made"))
    written = eicompress.report("study", studies=asked(made))
    assert "No candidate is within budget" in written.read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = bed(tmp_path, trials=1)
    made.run(Bench(tmp_path / "made"))
    (tmp_path / "file").touch()
    assert cli.run(["report", "study", "--studies", asked(made), "--output", str(tmp_path / "file" / "x")]) == 2
    assert "must be in a folder to write to" in capsys.readouterr().err


def test_the_first_screen_says_what_simple_baselines_reach() -> None:
    known = {"majority class": simple(0.1), "tf-idf": simple(0.75, 0.5, "n")}
    text = own(page(said(found(trial(1.0, 0.5, 0.8), simple=known))))
    assert "No simple baseline within the budgets is an artifact. The best of all, tf-idf, reaches 75.0%" in text
    assert "1 in 4" in text and "1 in 5" in text and "mostly" in text


def test_the_command_that_was_given_can_be_given_again() -> None:
    text = own(page(numbers(found(), {}, {"model": "my model", "seq_len": 16})))
    assert "eicompress search --model &#x27;my model&#x27; \\\n  --seq-len 16" in text

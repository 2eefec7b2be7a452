from pathlib import Path

import pytest

from eicompress import parsing, spec
from eicompress.errors import SpecError

ASKED = {"model": "teacher", "data": "data/clinc150", "budget": "1.91MB"}


@pytest.mark.parametrize(
    ("written", "megabytes"),
    [("2MB", 2.0), ("1.91MB", 1.91), ("2MiB", 2.097152), ("500KB", 0.5), ("512kib", 0.524288), ("1 mb", 1.0)],
)
def test_a_size_is_read_in_every_unit(written: str, megabytes: float) -> None:
    assert parsing.size_mb(written) == pytest.approx(megabytes)


@pytest.mark.parametrize(("written", "milliseconds"), [("2ms", 2.0), ("500us", 0.5), ("1s", 1000.0)])
def test_a_latency_is_read_in_every_unit(written: str, milliseconds: float) -> None:
    assert parsing.latency_ms(written) == pytest.approx(milliseconds)


@pytest.mark.parametrize(("written", "wanted"), [("2h", 7200), ("30m", 1800), ("90s", 90), ("1h30m", 5400)])
def test_a_time_is_read_in_every_unit(written: str, wanted: float) -> None:
    assert parsing.seconds(written) == wanted


@pytest.mark.parametrize("written", ["2 megs", "0MB", "-1MB", "2", "", "MB", "nanMB", "1e999MB", "2MB3KB"])
def test_a_budget_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(SpecError, match=r"`--budget` must be .*above zero.*write for example 1\.91MB"):
        parsing.size_mb(written)


@pytest.mark.parametrize("written", ["soon", "0h", "1h 30", "2 fortnights"])
def test_a_time_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(SpecError, match="`--timeout` must be"):
        parsing.seconds(written)


@pytest.mark.parametrize("name", ["a/b", "../a", "", ".hidden", "a\\b", "a b", "/tmp"])
def test_a_study_name_with_a_path_in_it_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="without a path"):
        parsing.study_name(name)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"budget": None}, "must have a budget"),
        ({"model": None}, "`--model` must name the folder of a model"),
        ({"data": ""}, "`--data` must name a folder, a file"),
        ({"objective": "reward"}, "must have a latency to aim at"),
        ({"objective": "pareto:quality"}, "must name two metrics to trade"),
        ({"objective": "pareto:quality,quality"}, "must name two metrics to trade"),
        ({"objective": "reward:size_mb"}, "must be a metric, `smallest`, `fastest`, `reward` or `pareto:A,B`"),
        ({"objective": "smallest:size_mb"}, "must be a metric, `smallest`"),
        ({"objective": "smallest", "stop_at": 0.9}, "must see how good the best is, but `--stop-at` ends"),
        ({"limit": ["macs_m"]}, "`--limit` must be a metric and a number"),
        ({"limit": ["macs_m=5M"]}, "`--limit` must be a metric and a number"),
        ({"limit": ["macs_m=nan"]}, "`--limit` must be a metric and a number"),
        ({"limit": ["macs_m=5", "macs_m=6"]}, "names `macs_m` twice"),
        ({"limit": ["size_mb=5"]}, "`--budget` must be the only limit of `size_mb`"),
        ({"budget": None, "objective": "macs_m", "limit": ["macs_m=5"]}, "a limit on something else than macs_m"),
        ({"memory": "80"}, "`--memory` must be a number above zero with a unit"),
        ({"min_quality": "95%"}, "`--min-quality` must be a quality above 0 and at most 1"),
        ({"stop_at": 1.5}, "`--stop-at` must be a quality"),
        ({"sampler": "grid"}, "`--sampler` must be one of tpe, nsga2, random"),
        ({"trials": 0}, "`--trials` must be a whole number from 1 to 2,147,483,647"),
        ({"trials": "many"}, "`--trials` must be"),
        ({"trials": True}, "`--trials` must be"),
        ({"seed": -1}, "`--seed` must be"),
        ({"threads": 0}, "`--threads` must be"),
        ({"seq_len": 0}, "`--seq-len` must be"),
        ({"teacher_training": "probes"}, "did you mean `probe`"),
        ({"ensemble": "wieghted"}, "did you mean `weighted`"),
        ({"teacher": [3]}, "must be a text or a list of texts"),
        ({"budgets": "2MB"}, "there is no setting `budgets`: did you mean `budget`"),
    ],
)
def test_bad_settings_get_one_clear_message(more: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        spec.read_search({**ASKED, **more})


@pytest.mark.parametrize("given", ["xlnet", ["xlnet"], ("xlnet", "roberta")])
def test_teachers_are_one_text_or_several(given: object) -> None:
    read = spec.read_search({**ASKED, "teacher": given})
    teachers = ("xlnet",) if isinstance(given, str) else tuple(given)  # type: ignore[arg-type]
    assert read.settings["teacher"] == teachers
    assert read.to_toml()["teacher"] == list(teachers)
    assert spec.read(read.to_toml()).settings["teacher"] == teachers


def test_what_is_left_out_has_a_sensible_default() -> None:
    read = spec.read_search(ASKED)
    assert read.folder == Path("studies/clinc150")
    assert read.timeout_s == 7200
    assert "trials" not in read.settings
    assert read.settings["task"] == ""
    assert read.columns == {"text": "text", "label": "label"}
    assert read.budgets == {"size_mb": 1.91}


def test_columns_are_described_by_their_roles() -> None:
    read = spec.read_search({**ASKED, "text": "question", "text_pair": "sentence"})
    assert read.columns == {"text": "question", "text_pair": "sentence", "label": "label"}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("builtin:docstrings", "docstrings"),
        ("a/b.jsonl", "b"),
        ("user/set of data/", "set-of-data"),
        ("..", "study"),
    ],
)
def test_a_study_is_named_after_its_data(data: str, name: str) -> None:
    assert spec.read_search({**ASKED, "data": data}).study == name


def test_what_a_study_was_asked_for_reads_back_as_the_same_spec() -> None:
    asked = spec.read_search({**ASKED, "latency": "500us", "seq_len": 64, "trials": 5})
    again = spec.read_search({**asked.to_toml(), "trials": 5})
    assert again == asked


def test_a_trade_of_two_metrics_needs_no_budget_and_reads_back() -> None:
    asked = spec.read_search({**ASKED, "budget": None, "objective": "pareto: size_mb, quality", "memory": "80MB"})
    assert asked.metrics == ("quality", "size_mb")
    assert asked.budgets == {"memory_mb": 80.0}
    assert spec.read_search(asked.to_toml()) == asked
    assert spec.read_search({**ASKED, "objective": "pareto"}).metrics == ("quality", "latency_ms")


@pytest.mark.parametrize(("objective", "metric"), [("smallest", "size_mb"), ("fastest", "latency_ms")])
def test_the_least_within_noise_is_a_trade_with_quality_and_needs_no_budget(objective: str, metric: str) -> None:
    asked = spec.read_search({**ASKED, "budget": None, "objective": objective})
    assert asked.metrics == ("quality", metric)
    assert spec.read_search(asked.to_toml()) == asked


def test_limits_of_any_metric_stand_beside_the_short_forms_and_read_back() -> None:
    asked = spec.read_search({**ASKED, "limit": ["macs_m=5", "drift=-0.5"], "min_quality": 0.9, "objective": "macs_m"})
    assert asked.budgets == {"size_mb": 1.91, "quality": 0.9, "macs_m": 5.0, "drift": -0.5}
    assert asked.metrics == ("macs_m",)
    assert asked.to_toml()["limit"] == ["macs_m=5", "drift=-0.5"]
    assert spec.read_search(asked.to_toml()) == asked


def test_the_number_of_trials_is_no_part_of_what_a_study_is_known_by() -> None:
    assert spec.read_search({**ASKED, "trials": 5}).to_toml() == spec.read_search({**ASKED, "timeout": "1h"}).to_toml()


def test_a_study_with_a_starting_point_has_a_space_of_its_own() -> None:
    given = {"model": "m", "data": "d"}
    assert spec.read(given).settings["space"] == "edge"
    assert spec.read({**given, "start": "starts/general"}).settings["space"] == "start"
    assert spec.read({**given, "start": "starts/general", "space": "mine.toml"}).settings["space"] == "mine.toml"


@pytest.mark.parametrize("text", ["a = " + "9" * 5_000, "a = " + "[" * 5_000 + "]" * 5_000, "a = ", "a = '\xff'"])
def test_toml_that_python_does_not_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(SpecError, match=r"a\.toml` must be TOML"):
        spec.read_toml(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = [{ b = [nan] }]", "not finite: nan"),
        ("a = -inf", "not finite: -inf"),
        ("a = 1e999", "not finite: 1e999"),
        ("a = [1979-05-27]", "a date or a time has no place in it: 1979-05-27"),
    ],
)
def test_what_json_does_not_know_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(SpecError, match=said):
        spec.read_toml(tmp_path / "a.toml")


def test_a_long_value_is_shortened_in_its_message() -> None:
    with pytest.raises(SpecError) as caught:
        spec.read({**ASKED, "budget": "9" * 5_000})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 1800),
        ({"timeout": "2h"}, 1800),
        ({"timeout": "6m"}, 180),
        ({"timeout": "6m", "teacher_timeout": "20m"}, 1200),
        ({"rows": 500}, 300),
        ({"rows": 500, "timeout": "6m"}, 180),
        ({"rows": 10_000}, 1800),
        ({"rows": 500, "teacher_timeout": "20m"}, 1200),
    ],
)
def test_a_teacher_takes_half_of_the_timeout_and_less_for_few_rows_unless_another_time_is_named(
    given: dict[str, object], seconds: float
) -> None:
    assert spec.read({"model": "m", "data": "d", **given}).teacher_s == seconds


def test_a_path_is_taken_wherever_a_file_or_a_folder_is_named() -> None:
    names = ("model", "data", "teacher", "unlabelled", "start", "plugin", "from_")
    asked = {name: f"some/{name}" for name in names} | {"budget": "1MB"}
    paths = {name: Path(f"some/{name}") for name in names} | {"budget": "1MB"}
    assert spec.read(paths).settings == spec.read(asked).settings

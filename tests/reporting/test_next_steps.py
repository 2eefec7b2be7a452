from dataclasses import replace
from pathlib import Path

from fake_builder import FIVE_DRAWS, Bench, bed

from eicompress.reporting.next_steps import advice
from eicompress.reporting.record_text import to_try, words_of_study
from eicompress.study.kept_artifacts import rebuilding


def test_commands_to_type_next_name_folders_as_a_shell_reads_them() -> None:
    assert to_try("my folder") == "eicompress predict 'my folder' \"some text\""
    assert words_of_study(Path("studies/one")) == "one"
    assert words_of_study(Path("my studies/one")) == "one --studies 'my studies'"
    assert "--trial one 7 --studies 'my studies' " in rebuilding(Path("my studies/one"), 7)


def test_an_exhausted_space_and_bytes_that_are_left_are_reported(tmp_path: Path) -> None:
    result = bed(tmp_path, FIVE_DRAWS, timeout_s=1e9, budgets={"size_mb": 4.0}).run(Bench(tmp_path / "made"))
    wider, room = advice(result)
    assert wider == "the search space has nothing new within the budget: give wider ranges with `--space`"
    assert room.startswith("the best takes 1.55 of 4 MB")


def test_a_best_that_came_late_asks_for_more_time(tmp_path: Path) -> None:
    result = bed(tmp_path, trials=8).run(Bench(tmp_path / "made"))
    assert result.best is not None
    order = [number for number in result.records if number != result.best[0]] + [result.best[0]]
    late = replace(result, records={place: result.records[number] for place, number in enumerate(order)}, rebuilds={})
    assert any("came late" in line and f"--study study --studies {tmp_path}" in line for line in advice(late))
    early = replace(result, records={place: result.records[number] for place, number in enumerate(order[::-1])})
    assert not any("came late" in line for line in advice(replace(early, rebuilds={})))

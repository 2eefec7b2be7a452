import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import eicompress
from eicompress import cli
from eicompress.answers import Answer, IntentAndSlots, Labels, Tags
from eicompress.encoder.heads import answer_words
from eicompress.errors import SpecError
from eicompress.export import folder as artifacts
from eicompress.reporting.comparison import Comparison, Measured, against, comparison_page, differences, heads, lines
from eicompress.study.quality_words import QualityWords
from tests.conftest import tiny_candidate


def measured(name: str, right: int, of: int = 400) -> Measured:
    correct = (np.arange(of) < right).astype(float)
    return Measured(name, 1.0, 0.5, correct.mean(), correct)


def compared(*others: Measured, name: str = "accuracy", is_share: bool = True) -> Comparison:
    first, words = measured("first", 300), QualityWords(name, is_share)
    return Comparison("d", "test", words, 16, "phone", first, tuple(against(first, each) for each in others))


def test_correlations_differ_by_numbers_and_no_points() -> None:
    found = compared(measured("other", 340), name="spearman", is_share=False)
    assert heads(found)[3:5] == ("quality", "difference")
    first, other = lines(found)
    assert first[3] == "0.7500" and other[3:5] == ["0.8500", "+0.1000"]
    assert differences(found).layout.xaxis.title.text == "spearman more or less than first"
    assert differences(found).data[0].x == (pytest.approx(0.1),)
    assert found.to_json()["metric"] == "spearman"
    graded = replace(found.first, beside={"grade_pearson": 0.5, "topic_accuracy": 0.25})
    words = QualityWords("grade_pearson", False), QualityWords("topic_accuracy", True)
    assert "Grade pearson: first 0.5000. Topic accuracy: first 25.00%" in comparison_page(
        replace(found, first=graded, others=(), beside=words)
    )


def test_a_difference_comes_with_what_chance_would_do() -> None:
    better, same = compared(measured("better", 360), measured("same", 301)).others
    assert better.difference.verdict == "gain" and better.p_value is not None and better.p_value < 1e-6
    assert same.difference.verdict == "no gain" and same.p_value == 1.0


def test_without_right_and_wrong_there_is_no_p_value() -> None:
    first = measured("first", 300)
    assert against(first, Measured("soft", 1.0, 1.0, 0.5, np.full(400, 0.5))).p_value is None


def test_a_row_reads_from_left_to_right() -> None:
    assert lines(compared(measured("worse", 200)))[1][:5] == ["worse", "1.000", "0.50", "50.00%", "-25.00"]


def test_no_difference_has_no_sign_of_its_own() -> None:
    assert QualityWords("accuracy", True).signed(-1e-9) == "+0.00"
    assert QualityWords("pearson", False).signed(-1e-9) == "+0.0000"


def test_intervals_are_drawn_around_the_differences() -> None:
    found = compared(measured("worse", 200))
    (marks,) = differences(found).data
    assert list(marks.x) == [pytest.approx(-25.0)]
    apart = found.others[0].difference
    assert marks.error_x.array[0] == pytest.approx(100 * (apart.high - apart.mean))


def test_names_are_escaped() -> None:
    text = comparison_page(compared(measured("<script>alert(1)</script>", 200)))
    assert "<script>alert" not in text


def test_artifacts_are_compared_from_the_outside(
    tmp_path: Path, data_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, positions in (("one", 32), ("two", 32), ("short", 9)):
        candidate = tiny_candidate(positions=positions)
        artifacts.write(candidate, Labels(("music", "weather")), tmp_path / name / "best", pairs=False, manifest={})
    both = [str(tmp_path / name / "best") for name in ("one", "two")]
    words = ["--data", str(data_folder), "--output", str(tmp_path / "c.html")]
    assert cli.run(["compare", *both, *words]) == 0
    shown = capsys.readouterr().out
    assert "one/best" in shown and "no difference" in shown and "tokens on this_machine" in shown.replace("\n", " ")
    assert "Is one better?" in (tmp_path / "c.html").read_text(encoding="utf-8")
    assert cli.run(["compare", *both, *words[:2], "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["others"][0]["difference"]["mean"] == 0.0
    assert printed["first"]["latency_ratio"] is None and printed["others"][0]["latency_ratio"] > 0
    assert cli.run(["compare", *both, str(tmp_path / "short" / "best"), *words[:2], "--seq-len", "16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sequence_length"] == 9
    with pytest.raises(SpecError, match="two artifacts or more"):
        eicompress.compare([both[0]], data=str(data_folder))


@pytest.mark.parametrize(
    ("answers", "quality", "said"),
    [
        ((Tags(("O", "B-A", "I-A")), IntentAndSlots(("O", "B-A", "I-A"), ("music", "weather"))), "", "alike"),
        ((Labels(("music", "weather")), Labels(("a", "music", "weather"))), "macro_f1", "the same labels"),
    ],
)
def test_qualities_that_are_not_of_the_same_answers_are_not_compared(
    answers: tuple[Answer, Answer], quality: str, said: str, tmp_path: Path
) -> None:
    row = {"tokens": ["play", "it"], "tags": ["O", "B-A"], "text": "play it"}
    rows = [{**row, "label": each} for each in ("music", "weather")]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    folders = []
    for at, answer in enumerate(answers):
        candidate = tiny_candidate(outputs=answer.outputs)
        if answer.per_word:
            answer_words(candidate.encoder)
        folders.append(artifacts.write(candidate, answer, tmp_path / str(at), pairs=False, manifest={}).folder)
    with pytest.raises(SpecError, match=said):
        eicompress.compare(folders, data=str(tmp_path / "rows.jsonl"), quality=quality)

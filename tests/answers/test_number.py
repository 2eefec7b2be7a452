import numpy as np
import pytest

from eicompress.answers import Labels, Number, NumberPrediction, from_json, of_config
from eicompress.answers.number import correlation

ANSWER = Number(20.0, 4.0)
TARGETS = np.array([-1.5, -0.5, 0.5, 1.5], np.float32)
TEXTS = ("a", ("b", "c"), "d", "e")


def test_it_is_decoded_in_the_users_units() -> None:
    (found,) = ANSWER.decode(np.array([[0.5]], np.float32), ["rain"])
    assert found == NumberPrediction(22.0) and found.columns == ("22",)


def test_an_artifacts_logits_come_back_as_they_were() -> None:
    logits = np.array([[0.25], [-2.0]], np.float32)
    factor, shift = ANSWER.scale or (0.0, 0.0)
    assert ANSWER.standard(logits * factor + shift) == pytest.approx(logits)
    assert Number().scale is None


def test_it_is_the_same_after_it_was_written_and_a_file_answers_in_units() -> None:
    assert from_json(ANSWER.to_json()) == ANSWER
    assert of_config(ANSWER.config()) == Number()
    # As `transformers` reads it: one output is a number.
    assert of_config({"id2label": {"0": "LABEL_0"}}) == Number()


def test_a_head_of_other_units_is_rescaled() -> None:
    factor, shift = ANSWER.rescaling(Number(10.0, 2.0)) or (0.0, 0.0)
    # One deviation above the mean is 12, which is two of ours below 20.
    assert 1.0 * factor + shift == pytest.approx(-2.0)
    assert ANSWER.rescaling(ANSWER) is None
    assert ANSWER.outputs_of(Number()) == (0,) and ANSWER.outputs_of(Labels(("a", "b"))) is None
    assert ANSWER.mismatch("the teacher `t`", Labels(("a", "b"))).startswith("The teacher `t` must answer a number")


def test_numbers_a_tenth_of_their_deviation_apart_agree() -> None:
    expected = np.array([[-1.0], [1.0]])
    assert ANSWER.agrees(expected, np.array([[-1.09], [1.2]])).tolist() == [True, False]
    # Answers that hardly vary are not asked for more than a hundredth of the targets' deviation.
    assert ANSWER.agrees(np.zeros((2, 1)), np.array([[0.009], [0.02]])).tolist() == [True, False]


@pytest.mark.filterwarnings("error")
def test_correlation_is_numpys_and_none_where_nothing_varies() -> None:
    chance = np.random.default_rng(0)
    one, other = chance.normal(size=50), chance.normal(size=50)
    assert correlation(one, other) == pytest.approx(np.corrcoef(one, other)[0, 1])
    assert correlation(np.full(50, 0.1), other) == 0.0 == correlation(one, np.zeros(50))


def test_the_largest_errors_are_reported_in_the_users_units() -> None:
    baseline = TARGETS[:, None] + np.float32(0.1)
    artifact = baseline + np.array([[0.0], [1.0], [0.0], [0.0]], np.float32)
    found = ANSWER.mistakes(TEXTS, TARGETS, baseline, artifact)
    table, _ = found.tables
    assert table.rows[0] == ("b | c", "18.00", "22.40", "18.40", "4.40") and len(table.rows) == 4
    assert "off by 1.4 on average, the baseline by 0.4" in found.summary and found.interval > 0
    assert found.charts[0].artifact.x == (14.0, 18.0, 22.0, 26.0) and found.charts[0].diagonal == (14.0, 26.0)


def test_a_long_way_from_zero_single_precision_says_less() -> None:
    assert Number(0.0, 1.0).rounding() < 1e-6 < 0.05 < Number(1e6, 1.0).rounding()


def test_errors_are_reported_by_quarters_of_the_numbers() -> None:
    wanted = np.arange(8.0)
    answer = Number(mean=0.0, deviation=1.0)
    artifact = wanted + np.array([0, 0, 0, 0, 0, 0, 1.0, 3.0])
    tables = answer.mistakes([""] * 8, wanted, wanted[:, None], artifact[:, None]).tables
    (found,) = [each for each in tables if each.title == "Errors by size of the number"]
    assert [row[1] for row in found.rows] == ["2"] * 4
    assert found.rows[-1] == ("6.00 to 7.00", "2", "2.00", "+2.00", "0.00")
    assert found.rows[0][2:] == ("0.00", "+0.00", "0.00")

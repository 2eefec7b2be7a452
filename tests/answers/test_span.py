from dataclasses import replace

import numpy as np
import pytest

from eicompress.answers import AnswerSpan, from_json, of_config
from eicompress.answers.span import EVEN, best_spans
from eicompress.answers.span_targets import targets_of
from eicompress.values import Text

CONTEXT = "Ada Byron (born in 1815) wrote it."
TEXTS: list[Text] = [("Who wrote it?", CONTEXT), ("When was she born?", CONTEXT), ("Where?", CONTEXT)]
TARGETS = targets_of([CONTEXT] * 3, [[(0, 9), (0, 3)], [(19, 23)], []])
SLOTS = {"Ada": 1, "Byron": 2, "1815": 6}


def logits(*spans: tuple[str, str], worth: float = 4.0, nothing: float = 0.0) -> np.ndarray:
    made = np.full((len(spans), 11, 2), -1.0, np.float32)
    made[:, 0] = nothing
    for row, (first, last) in enumerate(spans):
        made[row, SLOTS[first], 0] = made[row, SLOTS[last], 1] = worth
    return made


def test_answers_are_parts_of_the_context_with_their_characters() -> None:
    found = AnswerSpan().decode(logits(("Ada", "Byron"), ("1815", "1815"), ("Byron", "1815")), TEXTS)
    assert [(each.answer, each.start, each.end) for each in found[:2]] == [("Ada Byron", 0, 9), ("1815", 19, 23)]
    assert all(CONTEXT[each.start : each.end] == each.answer for each in found)
    assert found[0].columns[:2] == ("Ada Byron", "0-9") and 0.8 < found[0].confidence < 1
    assert [*found[0].to_json()] == ["answer", "start", "end", "confidence"]


def test_an_answer_does_not_end_before_it_begins_nor_where_nothing_was_read_nor_after_thirty_words() -> None:
    made = logits(("Byron", "Ada"))
    chosen = best_spans(made)
    assert chosen.first <= chosen.last
    made = logits(("Ada", "Byron"))
    made[0, 3:] = 0.0
    assert best_spans(made - np.where(made == 0, 0, np.float32(9))).last <= 2, "zeros stand for what was not read"
    long = np.zeros((1, 60, 2), np.float32) - 1
    long[0, 1, 0] = long[0, 50, 1] = 9
    chosen = best_spans(long)
    assert chosen.last[0] - chosen.first[0] < 30


def test_a_threshold_decides_whether_there_is_an_answer_and_is_the_best_on_validation() -> None:
    given = logits(("Ada", "Byron"), ("1815", "1815"), ("Ada", "Ada"), worth=2.0)
    given[:, 0] = [[1, 1], [1.5, 1], [1.9, 1.8]]
    assert [each.answer for each in AnswerSpan().decode(given, TEXTS)] == ["Ada Byron", "1815", "Ada"]
    answer = AnswerSpan(EVEN)
    assert all(each.answer for each in answer.decode(given, TEXTS))
    tuned = answer.tuned(given, TARGETS, None)
    assert tuned.no_answer_above is not None and tuned.no_answer_above < EVEN
    silent = tuned.decode(given, TEXTS)[2]
    assert (silent.answer, silent.start, silent.columns[:2]) == (None, None, ("-", "-"))
    assert [each.answer for each in tuned.decode(given, TEXTS)][:2] == ["Ada Byron", "1815"]
    chosen = answer.chosen(tuned.decided(given))
    assert chosen.first.tolist() == [1, 6, 0], "with the threshold taken off, zero decides"
    assert AnswerSpan().tuned(given, TARGETS, None) == AnswerSpan()


def test_a_config_says_all_of_it() -> None:
    for answer in (AnswerSpan(), AnswerSpan(0.25)):
        config = {"architectures": ["BertForQuestionAnswering"], **answer.config()}
        assert of_config(config) == answer == from_json(answer.to_json())
        assert config["pipeline_tag"] == "question-answering"
    assert "no_answer_above" not in AnswerSpan().config()
    assert answer.outputs_of(AnswerSpan()) == (0, 1) and answer.outputs_of(None) is None
    assert "`ForQuestionAnswering`" in answer.mismatch("the teacher `x`", None)


def test_mistakes_are_those_of_the_data_and_both_models() -> None:
    answer = AnswerSpan(EVEN)
    theirs = logits(("Ada", "Byron"), ("1815", "1815"), ("Ada", "Ada"))
    theirs[2, 0] = 9
    ours = logits(("Byron", "Byron"), ("Ada", "Ada"), ("Ada", "Ada"))
    found = answer.mistakes(TEXTS, TARGETS, theirs, ours)
    lost, kinds = found.tables
    assert lost.rows[0] == ("When was she born?", "1815", "Ada", "1815") and len(lost.rows) == 3
    assert ("Where?", "(none)", "Ada", "(none)") in lost.rows
    assert ("Who wrote it?", "Ada Byron / Ada", "Byron", "Ada Byron") in lost.rows
    assert [row[1:] for row in kinds.rows] == [("1", "0"), ("1", "0"), ("1", "0")]
    assert "answers 0 of them exactly, the baseline 3" in found.summary
    difference, interval = answer.difference(TARGETS, ours, theirs)
    assert difference == pytest.approx((2 / 3 - 1 - 1 - 1) / 3) and interval == found.interval > 0
    exact = replace(answer, quality="exact_match")
    assert exact.difference(TARGETS, ours, theirs) == (-1.0, 0.0), "models are compared by the task's quality"
    judged = exact.mistakes(TEXTS, TARGETS, theirs, ours)
    assert (judged.summary, judged.interval) == (found.summary, 0.0) and from_json(exact.to_json()) == exact


def test_a_threshold_is_chosen_by_the_tasks_quality() -> None:
    # Right, wrong where there is no answer, and half right twice; the surer ones first.
    given = logits(("Ada", "Byron"), ("Ada", "Ada"), ("Byron", "Byron"), ("Byron", "Byron"), worth=2.0)
    given[:, 0] = np.array([0.5, 1.0, 1.5, 1.6])[:, None]
    targets = targets_of([CONTEXT] * 4, [[(0, 9)], [], [(0, 9)], [(0, 9)]])
    by_f1, exact = (AnswerSpan(EVEN, each).tuned(given, targets, None) for each in ("f1", "exact_match"))
    texts = [TEXTS[0]] * 4
    assert [each.answer for each in by_f1.decode(given, texts)] == ["Ada Byron", "Ada", "Byron", "Byron"]
    assert [each.answer for each in exact.decode(given, texts)] == ["Ada Byron", None, None, None]


def test_another_answer_that_is_worth_as_much_is_no_disagreement_of_a_file() -> None:
    expected, got = logits(("Ada", "Byron")), logits(("1815", "1815"))
    assert not AnswerSpan().agrees(expected, got).any()
    expected[0, 6] = 3.99
    assert AnswerSpan().agrees(expected, got).all()


def test_the_simplest_baseline_looks_where_words_of_the_question_stand() -> None:
    texts: list[Text] = [
        ("What did Ada Byron write?", "The sea is deep. It is blue. In 1843 Ada Byron published notes.")
    ]
    (found,) = AnswerSpan().decode(AnswerSpan().simplest_logits(TEXTS, TARGETS[1:2], texts), texts)
    assert found.answer in ("1843", "published", "notes", "In")


def test_targets_hold_what_scores_need() -> None:
    assert AnswerSpan().holds(TARGETS) and not AnswerSpan().holds(np.zeros((3, 2), np.int64))
    assert TARGETS[0, :9].tolist() == [2, 1, 2, 0, 9, 1, 1, 0, 3]
    assert replace(AnswerSpan(), no_answer_above=0.5).like(AnswerSpan(0.25)) == AnswerSpan(0.25)

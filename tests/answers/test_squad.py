"""Against the published examples of SQuAD's metric (the metric cards of `squad` and `squad_v2` in `evaluate`)."""

import pytest

from eicompress.answers.squad import exact_match, f1, normalized


def test_the_published_examples() -> None:
    pairs = [("1976", "1976"), ("Beyonce", "Beyoncé and Bruno Mars"), ("climate change", "climate change")]
    for metric in (exact_match, f1):
        assert sum(metric(answer, [there]) for answer, there in pairs) / 3 == pytest.approx(0.6666666666666667)
        assert metric("1999", ["1976"]) == 0.0


@pytest.mark.parametrize(
    ("answer", "references", "exact", "shared"),
    [
        ("The Virgin Mary", ["virgin mary!"], 1.0, 1.0),
        ("Saint Bernadette", ["Saint Bernadette Soubirous"], 0.0, 0.8),
        ("U.S.", ["US"], 1.0, 1.0),
        ("1990\u20131995", ["1990-1995"], 0.0, 0.0),
        ("gold gold dome", ["gold dome dome"], 0.0, 2 / 3),
        ("in 1858", ["1858", "in the year 1858"], 0.0, 0.8),
        ("", [], 1.0, 1.0),
        ("1858", [], 0.0, 0.0),
        ("", ["1858"], 0.0, 0.0),
        ("the", ["a"], 1.0, 1.0),
    ],
)
def test_case_punctuation_and_articles_do_not_count(
    answer: str, references: list[str], exact: float, shared: float
) -> None:
    assert exact_match(answer, references) == exact
    assert f1(answer, references) == pytest.approx(shared)


def test_a_word_that_begins_like_an_article_stays() -> None:
    assert normalized("The theory,  an ANT") == "theory ant"

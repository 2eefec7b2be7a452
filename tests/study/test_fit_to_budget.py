import pytest

from eicompress.study.fit_to_budget import largest
from eicompress.study.space import Fill


@pytest.mark.parametrize("top", [2_000, 5_188, 30_000])
@pytest.mark.parametrize("budget", [0.4, 0.9, 1.3, 5.0])
def test_filling_finds_the_largest_value_in_few_previews(top: int, budget: float) -> None:
    asked: list[int] = []

    def size(value: int) -> float:
        asked.append(value)
        return 0.35 + min(value, top) / 10_000

    found = largest(size, Fill("words", "tokens", 300, 30_000), budget)
    whole = 0.35 + top / 10_000
    assert size(found) <= budget
    assert size(found) >= 0.98 * min(budget, whole)
    assert len(asked) <= 8
    if whole <= budget:
        assert asked[0] == 30_000, "where all there is fits, one preview says so"


def test_filling_gives_the_least_value_where_nothing_fits() -> None:
    assert largest(lambda value: 3.0 + value, Fill("words", "tokens", 300, 900), 2.0) == 300

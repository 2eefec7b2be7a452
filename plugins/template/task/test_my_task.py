import numpy as np
import pytest
from my_task import MyTask

from eicompress.plugins import discover
from eicompress.testing import Claim, task_checks


@pytest.mark.parametrize("claim", task_checks(MyTask), ids=str)
def test_claim(claim: Claim) -> None:
    claim()


def test_it_is_found() -> None:
    assert discover().tasks["my_task"] is MyTask


def test_a_rare_label_counts_as_much_as_a_frequent_one() -> None:
    targets, always_the_first = np.array([0, 0, 0, 1]), np.array([[1.0, 0.0]] * 4)
    assert MyTask(("music", "weather")).score(always_the_first, targets) == 0.5

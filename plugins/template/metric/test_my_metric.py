from pathlib import Path

import pytest
from my_metric import MyMetric

from eicompress import Examples, Subject
from eicompress.plugins import discover
from eicompress.testing import Claim, metric_checks, tiny_artifact, tiny_examples, tiny_task


@pytest.mark.parametrize("claim", metric_checks(MyMetric), ids=str)
def test_claim(claim: Claim) -> None:
    claim()


def test_it_is_found() -> None:
    assert discover().metrics["my_metric"] is MyMetric


def test_tokens_are_counted_with_those_around_the_text(tmp_path: Path) -> None:
    texts = ("stop it", "play the song today")
    examples = Examples(texts, tiny_examples(1).targets[:2])
    (found,) = MyMetric().measure(Subject(tiny_artifact(tmp_path / "mine"), tiny_task(), examples))
    assert found.value == (4 + 6) / 2

"""The latency of an artifact with early exits is that of real texts, and never of one length."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from eicompress import runtime
from eicompress.answers import Labels
from eicompress.contracts import Examples
from eicompress.deployment import Device, Times
from eicompress.encoder.exits import EarlyExitEncoder, confidences
from eicompress.encoder.linear import Linear
from eicompress.encoder.tokens import tokenize
from eicompress.errors import MeasureError, ModelError
from eicompress.export.folder import write
from eicompress.measures import Conditions, Subject
from eicompress.metrics import profile
from eicompress.metrics.exit_curve import exit_curve
from eicompress.metrics.latency import LatencyMetric
from eicompress.values import Artifact, ExitRule, Measurement
from tests.conftest import tiny_candidate, tiny_examples, tiny_task


def with_exits(folder: Path, threshold: float | None) -> Artifact:
    """An artifact with one off-ramp; without a threshold, half of the tiny texts exit there."""
    candidate = tiny_candidate()
    encoder = candidate.encoder
    ramp = Linear(encoder.config.hidden, encoder.config.outputs)
    ramp.weight.data = encoder.classifier.weight.data.clone()
    model = EarlyExitEncoder(encoder, [ramp], ExitRule((1,), len(encoder.layers), "margin", threshold or 0.0)).eval()
    if threshold is None:
        read = tokenize(candidate.tokenizer, tiny_examples(1).texts)
        batches = [read.batch(np.array([row]), 0, "cpu") for row in range(len(read.lengths))]
        with torch.no_grad():
            answers = [model.answers(each.input_ids, each.attention_mask, each.token_type_ids) for each in batches]
        confidence = confidences(torch.cat(answers, dim=1), "margin")
        model.rule = replace(model.rule, threshold=float(confidence.quantile(0.5)))
    return write(replace(candidate, model=model), Labels(("a", "b")), folder, pairs=False, manifest={})


def subject(artifact: Artifact, **conditions: object) -> Subject:
    given = Conditions(seconds=0.01, **conditions)  # type: ignore[arg-type]
    return Subject(artifact, tiny_task(), tiny_examples(1), conditions=given)


def measured(given: Subject) -> dict[str, Measurement]:
    return {each.name: each for each in LatencyMetric().measure(given)}


def test_the_mean_of_the_texts_is_measured(tmp_path: Path) -> None:
    artifact = with_exits(tmp_path / "a", None)
    found = measured(subject(artifact, reference=artifact))
    mean = found["latency_ms"]
    assert mean.conditions["statistic"] == "mean"
    assert mean.conditions["texts"] == len(tiny_examples(1).texts)
    assert mean.conditions["split"] == "validation"
    assert mean.conditions["batch"] == 1
    assert "sequence_length" not in mean.conditions
    assert found["latency_p50_ms"].value <= found["latency_p95_ms"].value
    assert 1 < found["latency_layers"].value < 3
    assert found["latency_ratio"].value > 0


@pytest.mark.parametrize(("threshold", "asked"), [(1.0, {}), (0.5, {"seq_len": 8})])
def test_a_length_is_timed_through_all_layers(tmp_path: Path, threshold: float, asked: dict[str, int]) -> None:
    found = measured(subject(with_exits(tmp_path / "a", threshold), **asked))
    assert found["latency_ms"].conditions["whole_depth"] is True
    assert found["latency_ms"].conditions["sequence_length"]


def test_operators_are_timed_on_the_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "median", lambda _: 1.0)  # counts the nodes that one text runs, on average
    texts = tiny_examples(1).texts
    always, never = (with_exits(tmp_path / str(each), each) for each in (0.0, 1.0))
    early, late = (profile.milliseconds_by_operator(each, 8, texts) for each in (always, never))
    assert "If" not in late
    assert sum(early.values()) < sum(late.values())


def test_the_curve_has_the_quality_of_each_threshold(tmp_path: Path) -> None:
    given = subject(with_exits(tmp_path / "a", None))
    points = exit_curve(given)
    assert [each.own for each in points].count(True) == 1
    assert [each.threshold for each in points] == sorted(each.threshold for each in points)
    assert points[-1].layers == 3.0 and points[0].layers <= points[-1].layers
    own = next(each for each in points if each.own)
    assert own.quality == given.task.score(given.logits, given.examples.targets)
    assert own.layers == given.model.layers(given.examples.texts).mean()
    assert not exit_curve(subject(with_exits(tmp_path / "never", 1.0)))


class Phone(Device):
    name: ClassVar[str] = "phone"

    def describe(self) -> dict[str, str]:
        return {"machine": "phone"}

    def time(
        self, artifact: Artifact, reference: Artifact | None, length: int, *, threads: int, seconds: float
    ) -> Times:
        return Times([1.0])


def test_a_device_that_runs_arbitrary_tokens_says_so(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match=r"`phone` timed nothing: .* depends on the text"):
        measured(subject(with_exits(tmp_path / "a", None), device=Phone()))


def test_a_device_that_knows_of_no_exits_is_given_a_file_without(tmp_path: Path) -> None:
    ran: list[int] = []

    class Watching(Phone):
        def time(
            self, artifact: Artifact, reference: Artifact | None, length: int, *, threads: int, seconds: float
        ) -> Times:
            ran.extend(runtime.load(artifact.folder).layers(tiny_examples(1).texts))
            return Times([1.0])

    found = measured(subject(with_exits(tmp_path / "a", 0.0), device=Watching(), seq_len=8))
    assert found["latency_ms"].conditions["whole_depth"] is True
    assert set(ran) == {3}


def test_more_than_300_texts_are_drawn_evenly(tmp_path: Path) -> None:
    texts = tuple(f"it is {number}" for number in range(1000))
    examples = Examples(texts, np.zeros(1000, np.int64))
    artifact = with_exits(tmp_path / "a", 0.0)
    found = measured(Subject(artifact, tiny_task(), examples, conditions=Conditions(seconds=0.0)))
    assert found["latency_ms"].conditions["texts"] == 300


@pytest.mark.parametrize(
    ("early_exit", "said"),
    [
        (
            '{"after":[1],"layers":3,"criterion":"margin","threshold":"1.500000"}',
            "`threshold` from 0 to 1, but has '1.5",
        ),
        ('{"after":[1],"layers":3,"criterion":"margin","threshold":"nan"}', "`threshold` from 0 to 1, but has 'nan'"),
        ('{"after":[1],"layers":3,"criterion":"luck","threshold":"0.5"}', "a `criterion` of entropy, margin"),
        ('{"after":1}', "must name `layers`"),
    ],
)
def test_a_config_that_cannot_be_is_refused(tmp_path: Path, early_exit: str, said: str) -> None:
    artifact = with_exits(tmp_path / "a", 0.5)
    artifact.manifest.unlink()
    config = artifact.folder / "config.json"
    before, _, _ = config.read_text().partition('"early_exit"')
    config.write_text(before + f'"early_exit":{early_exit}}}')
    with pytest.raises(ModelError, match=said):
        runtime.load(artifact.folder)

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_workshop import measured

from eicompress.reporting.mistakes import OfLabel, calibration, compared, mistakes
from eicompress.values import Record

LABELS = ("music", "weather")
TEXTS = ("play a song", "will it rain", "stop it", "sun today")
TARGETS = np.array([0, 1, 0, 1])
BASELINE = np.array([[3.0, 0.0], [0.0, 3.0], [3.0, 0.0], [2.0, 0.0]])
ARTIFACT = np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 1.0], [0.0, 1.0]])


def test_what_is_lost_and_gained_is_counted_by_text() -> None:
    found = compared(TEXTS, LABELS, TARGETS, BASELINE, ARTIFACT)
    assert (found.lost, found.gained, found.agreement, found.difference) == (1, 1, 0.5, 0.0)
    # Two of four texts differ: variance 0.5 / 4.
    assert found.interval == pytest.approx(1.96 * np.sqrt(0.5 / 4))


def test_examples_are_those_that_only_the_baseline_reads_right() -> None:
    (lost,) = compared(TEXTS, LABELS, TARGETS, BASELINE, ARTIFACT).examples
    assert (lost.text, lost.label, lost.answer) == ("stop it", "music", "weather")
    assert lost.confidence == pytest.approx(np.e / (np.e + 1))


def test_confused_labels_are_counted_for_both() -> None:
    (pair,) = compared(TEXTS, LABELS, TARGETS, BASELINE, ARTIFACT).confused
    assert (pair.label, pair.answer, pair.artifact, pair.baseline) == ("music", "weather", 1, 0)


def test_labels_that_lost_texts_are_told_with_their_counts() -> None:
    assert compared(TEXTS, LABELS, TARGETS, BASELINE, ARTIFACT).weakest == (OfLabel("music", 2, 1, 2),)
    assert compared(TEXTS, LABELS, TARGETS, ARTIFACT, BASELINE).weakest == (OfLabel("weather", 2, 1, 2),)
    assert compared(TEXTS, LABELS, TARGETS, BASELINE, BASELINE).weakest == ()


def test_calibration_is_the_mean_distance_of_confidence_and_accuracy() -> None:
    found = calibration(np.array([0.92, 0.98, 0.52, 0.58]), np.array([True, True, True, False]))
    assert [(each.count, each.accuracy) for each in found.bins] == [(2, 0.5), (2, 1.0)]
    assert found.error == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)


def recorded(folder: Path) -> tuple[Record, Record]:
    (folder / "files").mkdir()
    examples = {"texts": TEXTS, "targets": TARGETS.tolist(), "labels": LABELS}
    (folder / "files" / "examples.json").write_text(json.dumps(examples))
    np.save(folder / "files" / "before.npy", BASELINE)
    np.save(folder / "files" / "after.npy", ARTIFACT)
    record = Record(recipe=(), draw=-1, outcome="complete", measurements=measured(1.0, 1.0, 0.5))
    # As in a study that was moved since: only the files' names still hold.
    names = {"validation_examples": "/gone/examples.json", "validation_logits": "/gone/before.npy"}
    return replace(record, files=names), replace(record, files={"validation_logits": "/gone/after.npy"})


def test_files_are_found_after_the_study_was_moved(tmp_path: Path) -> None:
    found = mistakes(*recorded(tmp_path), tmp_path)
    assert found is not None and found.lost == 1


def test_without_the_files_nothing_is_said(tmp_path: Path) -> None:
    baseline, best = recorded(tmp_path)
    (tmp_path / "files" / "examples.json").unlink()
    assert mistakes(baseline, best, tmp_path) is None
    assert mistakes(replace(baseline, files={}), best, tmp_path) is None


def test_tasks_without_one_label_a_text_are_left_out(tmp_path: Path) -> None:
    baseline, best = recorded(tmp_path)
    examples = {"texts": TEXTS, "targets": [0.1, 0.2, 0.3, 0.4], "labels": ["score"]}
    (tmp_path / "files" / "examples.json").write_text(json.dumps(examples))
    assert mistakes(baseline, best, tmp_path) is None

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from fake_builder import measured

from eicompress.answers import Labels
from eicompress.reporting.mistakes import mistakes
from eicompress.values import Record

ANSWER = Labels(("music", "weather"))
TEXTS = ("play a song", "will it rain", "stop it", "sun today")
TARGETS = np.array([0, 1, 0, 1])
BASELINE = np.array([[3.0, 0.0], [0.0, 3.0], [3.0, 0.0], [2.0, 0.0]])
ARTIFACT = np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 1.0], [0.0, 1.0]])


def recorded(folder: Path) -> tuple[Record, Record]:
    (folder / "files").mkdir()
    examples = {"texts": TEXTS, "targets": TARGETS.tolist(), "answer": ANSWER.to_json()}
    (folder / "files" / "examples.json").write_text(json.dumps(examples))
    np.savez(folder / "files" / "before.npz", logits=BASELINE)
    np.savez(folder / "files" / "after.npz", logits=ARTIFACT)
    record = Record(recipe=(), draw=-1, outcome="complete", measurements=measured(1.0, 1.0, 0.5))
    # As in a study that was moved since: only the files' names still hold.
    names = {"validation_examples": "/gone/examples.json", "validation_logits": "/gone/before.npz"}
    return replace(record, files=names), replace(record, files={"validation_logits": "/gone/after.npz"})


def test_files_are_found_after_the_study_was_moved(tmp_path: Path) -> None:
    found = mistakes(*recorded(tmp_path), tmp_path)
    assert found is not None and found.tables[0].rows[0][0] == "stop it"


def test_without_the_files_nothing_is_said(tmp_path: Path) -> None:
    baseline, best = recorded(tmp_path)
    (tmp_path / "files" / "examples.json").unlink()
    assert mistakes(baseline, best, tmp_path) is None
    assert mistakes(replace(baseline, files={}), best, tmp_path) is None


def test_targets_of_a_tasks_own_form_are_left_out(tmp_path: Path) -> None:
    baseline, best = recorded(tmp_path)
    examples = {"texts": TEXTS, "targets": [0.1, 0.2, 0.3, 0.4], "answer": ANSWER.to_json()}
    (tmp_path / "files" / "examples.json").write_text(json.dumps(examples))
    assert mistakes(baseline, best, tmp_path) is None

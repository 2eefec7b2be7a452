from pathlib import Path

import numpy as np
import torch

from eicompress.cache import Cache
from eicompress.contracts import Candidate
from eicompress.teacher import EncoderTeacher, answers_of, with_trained_head
from eicompress.training import Trainer
from eicompress.values import Progress
from tests.conftest import tiny_candidate, tiny_examples, tiny_task


def teacher(folder: Path, seen: list[Progress]) -> EncoderTeacher:
    return EncoderTeacher(tiny_candidate(), "tiny", Cache(folder), "cpu", seen.append)


def test_outputs_are_the_models_own_in_the_order_asked(tmp_path: Path) -> None:
    texts = ["play the song", "will it rain today", "stop"]
    outputs = teacher(tmp_path, []).outputs(texts)
    logits, states = answers_of(tiny_candidate(), texts, "cpu")
    assert np.allclose(outputs.logits, logits, atol=1e-2) and np.allclose(outputs.states, states, atol=1e-2)


def test_a_text_is_read_once(tmp_path: Path) -> None:
    seen: list[Progress] = []
    asked = teacher(tmp_path, seen)
    asked.outputs(["play the song", "stop"])
    asked.outputs(["stop", "play the song"])
    assert len(seen) == 1


def test_another_process_finds_them_on_disk(tmp_path: Path) -> None:
    first = teacher(tmp_path, []).outputs(["play the song", "stop"])
    (file,) = tmp_path.glob("teacher/*/logits.npy")
    before = file.stat().st_mtime_ns
    again = teacher(tmp_path, []).outputs(["play the song", "stop"])
    assert (again.logits == first.logits).all() and file.stat().st_mtime_ns == before


def label_loss(candidate: Candidate) -> float:
    examples = tiny_examples(1)
    logits = torch.from_numpy(answers_of(candidate, examples.texts, "cpu")[0].astype(np.float32))
    return float(tiny_task().loss(logits, torch.from_numpy(examples.targets)))


def trained(how: str) -> Candidate:
    fit = Trainer(0, 1.0, "cpu", lambda _: None)
    return with_trained_head(tiny_candidate(), tiny_task(), tiny_examples(20), how, fit, "cpu")


def test_a_probe_learns_the_task_on_frozen_weights() -> None:
    made = trained("probe")
    assert label_loss(made) < 0.2 * label_loss(tiny_candidate())
    assert torch.equal(made.model.words.weight, tiny_candidate().model.words.weight)


def test_fine_tuning_changes_all_weights() -> None:
    made = trained("finetune")
    assert label_loss(made) < label_loss(tiny_candidate())
    assert not torch.equal(made.model.words.weight, tiny_candidate().model.words.weight)

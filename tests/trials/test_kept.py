from pathlib import Path

import numpy as np

from eicompress.study.kept_answers import stored_logits
from eicompress.trials.kept import kept_logits


def test_what_fills_up_short_texts_takes_no_room_and_no_number_changes(tmp_path: Path) -> None:
    logits = np.zeros((300, 400, 2), np.float32)
    logits[:, :40] = np.random.default_rng(0).normal(size=(300, 40, 2))
    kept = kept_logits(tmp_path, {"validation": logits})
    file = Path(kept["validation_logits"])
    assert file.stat().st_size < logits.nbytes / 8
    assert np.array_equal(stored_logits(file), logits)
    assert kept == kept_logits(tmp_path, {"validation": logits}), "the same numbers make the same file"

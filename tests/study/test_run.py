import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import eicompress
from eicompress.errors import StudyError
from eicompress.spec import Spec, read
from eicompress.study.run import setup_of


def test_a_worker_is_sent_every_setting_but_the_database() -> None:
    spec = read({"model": "m", "data": "d", "teacher": ["a"], "storage": "postgresql://me@secret.example/name"})
    builder: Any = SimpleNamespace(head=None, digests={})
    sent = json.dumps(asdict(setup_of(spec, builder)))
    assert "secret" not in sent
    there = Spec(json.loads(sent)["settings"])
    assert {**there.settings, "teacher": ("a",)} == {**spec.settings, "storage": ""}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"studies": "file"}, "a study must be in a folder to write to, but `.*file` is no folder"),
        ({"storage": "postgresql://me@/none?host=/nowhere"}, "must answer, but"),
    ],
)
def test_nothing_is_trained_where_it_could_not_be_recorded(
    given: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("eicompress.study.run.open_builder", lambda *_, **more: pytest.fail("a model was read"))
    Path("file").write_text("keep me")
    with pytest.raises(StudyError, match=said):
        eicompress.search(model="m", data="d", budget="1MB", trials=1, **given)  # type: ignore[arg-type]
    assert [each.name for each in tmp_path.iterdir()] == ["file"]

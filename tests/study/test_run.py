import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

from eicompress.spec import Spec, read
from eicompress.study.run import setup_of


def test_a_worker_is_sent_every_setting_but_the_database() -> None:
    spec = read({"model": "m", "data": "d", "teacher": ["a"], "storage": "postgresql://me@secret.example/name"})
    builder: Any = SimpleNamespace(head=None, digests={})
    sent = json.dumps(asdict(setup_of(spec, builder)))
    assert "secret" not in sent
    there = Spec(json.loads(sent)["settings"])
    assert {**there.settings, "teacher": ("a",)} == {**spec.settings, "storage": ""}

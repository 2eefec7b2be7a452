"""A device that a plug-in brings times what is measured, compared and searched."""

import json
from pathlib import Path
from typing import Any

import pytest

import eicompress
from eicompress import cli, testing
from eicompress.errors import MeasureError, SpecError, StudyError

PHONE = """
from pathlib import Path

from eicompress import Device, Times, hookimpl
from eicompress.errors import MeasureError

CALLS = Path(__file__).with_suffix(".calls")

class Phone(Device):
    name = "phone"

    def describe(self):
        return {"machine": "Cortex-A55"}

    def time(self, artifact, reference, length, *, threads, seconds):
        with CALLS.open("a") as file:
            print(artifact.folder, file=file)
        if len(CALLS.read_text().splitlines()) in FAILS:
            raise MeasureError("the cable is loose")
        return Times([4.0, 5.0, 6.0], [10.0] if reference else [])

@hookimpl
def register_devices():
    return [Phone]
"""
SPACE = """
[[slot]]
strategy = "thin_student"
layers = { low = 1, high = 3 }

[[slot]]
strategy = "quantization"
layer_bits = { choices = [4, 8] }
"""


def phone(folder: Path, *fails: int) -> str:
    """A plug-in file whose device fails at these calls, counted from 1."""
    path = folder / "phone.py"
    path.write_text(PHONE.replace("FAILS:", f"{set(fails) or '()'}:"))
    return str(path)


@pytest.fixture
def artifact(tmp_path: Path) -> str:
    return str(testing.tiny_artifact(tmp_path / "mine").folder)


def test_an_artifact_is_measured_on_the_device(artifact: str, tmp_path: Path, capsys: Any) -> None:
    words = ["--device", "phone", "--plugin", phone(tmp_path)]
    assert cli.run(["measure", artifact, *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["measurements"]
    latency, *_ = [each for each in found if each["name"] == "latency_ms"]
    assert latency["value"] == 5.0
    assert latency["conditions"]["device"] == "phone" and latency["conditions"]["machine"] == "Cortex-A55"
    assert cli.run(["measure", artifact, *words]) == 0
    assert "on phone, Cortex-A55" in capsys.readouterr().out


def test_a_length_is_measured_once_where_the_artifact_reads_fewer_tokens(artifact: str, tmp_path: Path) -> None:
    limit = json.loads((Path(artifact) / "config.json").read_text())["max_position_embeddings"]
    taken = eicompress.measure(artifact, device="phone", plugin=phone(tmp_path))
    lengths = [each.conditions["sequence_length"] for each in taken if each.name == "latency_ms"]
    assert limit < 128 and lengths == sorted({min(each, limit) for each in (16, 64, 128)})


def test_artifacts_are_compared_on_the_device(artifact: str, tmp_path: Path, data_folder: Path) -> None:
    found = eicompress.compare([artifact] * 2, data=str(data_folder), device="phone", plugin=phone(tmp_path))
    assert found.device == "phone" and found.to_json()["device"] == "phone"
    assert [each.latency_ms for each in found.all] == [5.0, 5.0]


def test_an_unknown_device_is_refused_with_the_nearest(artifact: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no device `phon`: did you mean `phone`"):
        eicompress.measure(artifact, device="phon", plugin=phone(tmp_path))
    with pytest.raises(SpecError, match="there is no device `this_machin`: did you mean `this_machine`"):
        eicompress.search(model="m", data="d", budget="1MB", device="this_machin")


def test_a_device_that_fails_ends_a_measurement_with_one_message(artifact: str, tmp_path: Path, capsys: Any) -> None:
    assert cli.run(["measure", artifact, "--device", "phone", "--plugin", phone(tmp_path, 1)]) == 2
    assert capsys.readouterr().err == "error: the device `phone` timed nothing: the cable is loose\n"


def asked(folder: Path, model: Path, data: Path, plugin: str, **more: Any) -> dict[str, Any]:
    (folder / "space.toml").write_text(SPACE)
    given = {"model": str(model), "data": str(data), "budget": "1MB", "space": str(folder / "space.toml")}
    return {**given, "studies": folder / "studies", "study": "mine", "workers": 0, "plugin": plugin, **more}


@pytest.mark.slow
def test_a_search_goes_on_where_the_device_fails_once_and_remembers_it(
    tmp_path: Path, model_folder: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    # The baseline and two simple baselines are timed first, then what is foreseen, then the candidates.
    plugin = phone(tmp_path, 6, 7, 8, 9)
    words = asked(tmp_path, model_folder, data_folder, plugin, device="phone")
    result = eicompress.search(**words, trials=3)
    reasons = {record.unmeasured["latency_ms"] for record in result.records.values() if record.unmeasured}
    assert reasons == {"the device `phone` timed nothing: the cable is loose"}
    assert result.best is not None
    record = result.best[1]
    taken = next(each for each in record.measurements if each.name == "latency_ms")
    assert taken.value == 5.0 and taken.conditions["device"] == "phone"
    assert record.value("latency_ratio") == 0.5
    folder = tmp_path / "studies" / "mine"
    assert "phone: Cortex-A55" in (folder / "report.html").read_text()
    assert any("phone: Cortex-A55" in card.read_text() for card in folder.glob("artifacts/*.README.md"))
    again = eicompress.search(study="mine", studies=tmp_path / "studies", space=words["space"], workers=0, trials=4)
    assert len(again.records) > len(result.records)
    with pytest.raises(StudyError, match="device"):
        eicompress.search(**{**words, "device": "this_machine"}, trials=4)


def test_a_search_whose_device_is_not_there_does_not_begin(
    tmp_path: Path, model_folder: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    words = asked(tmp_path, model_folder, data_folder, phone(tmp_path, 1), device="phone")
    with pytest.raises(MeasureError, match="the device `phone` timed nothing: the cable is loose"):
        eicompress.search(**words, trials=3)

"""What lies in and beside an artifact's folder: manifest, `config.json`, tokenizer and graph."""

import json
import multiprocessing
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from fuzzing import STUCK, ends_well, fuzzed, mutated_bytes, mutated_json, mutated_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from onnx.external_data_helper import set_external_data

from eicompress import runtime
from eicompress.cache import sha256_of
from eicompress.export.package import write_package
from eicompress.export.zip import Zip
from eicompress.manifest import READ
from eicompress.reporting.model_card import card_of
from eicompress.testing import tiny_artifact
from eicompress.values import Artifact, readable

pytestmark = pytest.mark.slow

TEXTS = ("play the song", "", "will it rain " * 40, "\ud800", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", "# 1 $ \n")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return tiny_artifact(tmp_path_factory.mktemp("artifacts") / "whole")


def _used(folder: Path) -> None:
    model = runtime.load(folder)
    model.lengths(TEXTS)
    for text in TEXTS:
        (found,) = model.predict([text])
        assert found.columns
    runtime.usual_length(model.tokenizer, list(map(readable, TEXTS)))


def _with(artifact: Artifact, name: str, content: bytes, *, manifest: str | None = None) -> Artifact:
    """The artifact with another file of this name, and without a manifest if none is given."""
    changed = Artifact(artifact.folder.with_name("changed"))
    shutil.rmtree(changed.folder, ignore_errors=True)
    for path in artifact.folder.rglob("*"):
        if path.is_file():
            copy = changed.folder / path.relative_to(artifact.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (changed.folder / name).write_bytes(content)
    changed.manifest.unlink(missing_ok=True)
    if manifest is not None:
        changed.manifest.write_text(manifest, errors="surrogatepass")
    return changed


@fuzzed(150)
@given(st.data())
def test_a_manifest_is_kept_to_or_refused(artifact: Artifact, data: st.DataObject) -> None:
    manifest = json.loads(artifact.manifest.read_text())
    whole = (artifact.folder / "config.json").read_bytes()
    changed = _with(artifact, "config.json", whole, manifest=data.draw(mutated_json(manifest)))
    with ends_well():
        _used(changed.folder)
        known = json.loads(changed.manifest.read_text())["files"]
        sums = {name: sha256_of(changed.folder / name) for name in READ}
        assert {name: known[name] for name in READ} == sums, "what is loaded is what the manifest names"
        card_of(changed)


OTHERS = ("notes.txt", ".hidden", "onnx/model.onnx.data", "onnx/model (1).onnx", "config.json ", "onnx/..notes")


@fuzzed(30)
@given(st.data(), st.sets(st.sampled_from(OTHERS), max_size=2))
def test_a_package_holds_what_the_manifest_names_or_is_refused(
    artifact: Artifact, data: st.DataObject, others: set[str]
) -> None:
    manifest = artifact.manifest.read_text()
    written = data.draw(st.just(manifest) | mutated_json(json.loads(manifest)))
    changed = _with(artifact, "config.json", (artifact.folder / "config.json").read_bytes(), manifest=written)
    for name in others:
        (changed.folder / name).write_bytes(b"of somebody else")
    output = artifact.folder.with_name("package.zip")
    output.unlink(missing_ok=True)
    with ends_well():
        write_package(Zip(), changed, "", output)
        with zipfile.ZipFile(output) as package:
            assert {*package.namelist()} <= {*json.loads(written)["files"]}, "a file of somebody else is handed on"


@fuzzed(150)
@given(st.data())
def test_an_artifacts_config_is_kept_to_or_refused(artifact: Artifact, data: st.DataObject) -> None:
    config = json.loads((artifact.folder / "config.json").read_text())
    changed = _with(artifact, "config.json", data.draw(mutated_json(config)).encode("utf-8", "surrogatepass"))
    with ends_well():
        _used(changed.folder)


@fuzzed(150)
@given(st.data())
def test_a_tokenizer_reads_texts_or_is_refused(artifact: Artifact, data: st.DataObject) -> None:
    whole = (artifact.folder / "tokenizer.json").read_bytes()
    structured = mutated_tokenizer(json.loads(whole)).map(lambda text: text.encode("utf-8", "surrogatepass"))
    changed = _with(artifact, "tokenizer.json", data.draw(structured | mutated_bytes(whole)))
    with ends_well():
        _used(changed.folder)


@fuzzed(40)
@given(st.data())
def test_a_graph_is_run_or_refused(artifact: Artifact, data: st.DataObject) -> None:
    changed = _with(artifact, "onnx/model.onnx", data.draw(mutated_bytes(artifact.onnx.read_bytes())))
    _used_in_a_process(changed)


NAMES = ("logits", "input_ids", "attention_mask", "token_type_ids", "other")


@fuzzed(40)
@given(st.data())
def test_a_graph_of_other_inputs_and_outputs_is_run_or_refused(artifact: Artifact, data: st.DataObject) -> None:
    model = onnx.load(artifact.onnx)
    values = [*model.graph.input, *model.graph.output]
    for value in data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=2)):
        shape = value.type.tensor_type.shape
        what = data.draw(st.sampled_from(("rename", "type", "shape", "rank", "drop")))
        if what == "rename":
            old, value.name = value.name, data.draw(st.sampled_from(NAMES))
            for node in model.graph.node:
                node.input[:] = [value.name if each == old else each for each in node.input]
                node.output[:] = [value.name if each == old else each for each in node.output]
        elif what == "type":
            value.type.tensor_type.elem_type = data.draw(st.integers(0, 20))
        elif what == "shape" and shape.dim:
            shape.dim[data.draw(st.integers(0, len(shape.dim) - 1))].dim_value = data.draw(st.integers(-2, 9))
        elif what == "rank":
            shape.dim.add().dim_value = 1
        elif value in model.graph.output:
            model.graph.output.remove(value)
    changed = _with(artifact, "onnx/model.onnx", model.SerializeToString())
    _used_in_a_process(changed)


PLACES = ("weights", "./weights", "sub/../weights", "../weights", "sub/../../weights", "../../weights", "{}", "", "\0")


@fuzzed(30)
@given(st.data(), st.sampled_from(PLACES))
def test_weights_of_a_graph_lie_in_its_folder_or_are_refused(
    artifact: Artifact, data: st.DataObject, place: str
) -> None:
    model = onnx.load(artifact.onnx)
    weight = data.draw(st.sampled_from([each for each in model.graph.initializer if each.raw_data]))
    content, folder = weight.raw_data, artifact.folder.with_name("changed") / "onnx"
    place = place.format((folder.parents[1] / "weights").resolve())
    set_external_data(weight, place, offset=0, length=len(content))
    weight.ClearField("raw_data")
    changed = _with(artifact, "onnx/model.onnx", model.SerializeToString())
    (folder / "sub").mkdir()
    for each in (folder, folder.parent, folder.parents[1]):
        (each / "weights").write_bytes(content)
    if data.draw(st.booleans()):
        (folder / "weights").unlink()
        (folder / "weights").symlink_to(folder.parents[1] / "weights")
    _used_in_a_process(changed)
    with ends_well():
        runtime.session(changed.onnx)
        assert "\0" not in place and (folder / place).resolve().is_relative_to(folder.resolve()), "weights from outside"


def _used_in_a_process(changed: Artifact) -> None:
    """In a process of its own: there are graphs, one in some ten thousand, at which onnx's own reader, which
    onnxruntime has too, ends the process. Whatever else ends it is a fault."""

    def use() -> None:
        with ends_well():
            _used(changed.folder)

    found = _exit_status(use)
    if found < 0:
        assert _exit_status(lambda: onnx.shape_inference.infer_shapes(onnx.load(changed.onnx))) == found
    else:
        assert found == 0


def _exit_status(work: Callable[[], object]) -> int:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(2 * STUCK)
    assert process.exitcode is not None, "a process must end"
    return process.exitcode

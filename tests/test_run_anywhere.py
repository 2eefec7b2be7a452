"""An artifact runs without eicompress: from the script in the docs, and with transformers.js."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eicompress import runtime
from eicompress.answers import AnswerSpan, Labels, Vector
from eicompress.contracts import Examples
from eicompress.encoder.heads import answer_with_states, answer_words
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.export.folder import bytes_by_group, write, write_files
from eicompress.tasks.classification import Classification
from eicompress.trials.tfidf import fit_tfidf
from eicompress.values import Artifact, Text
from tests.conftest import MUSIC, WEATHER, tiny_candidate

PAGE = Path(__file__).parent.parent / "docs" / "run-anywhere.md"
LABELS = ("music", "wéather & more")
TRANSFORMERS_JS = "4.3.1"
TEXTS: list[Text] = [*MUSIC, *WEATHER, "ÄÖ, déjà!", "日本"]
PAIRS: list[Text] = [("play the song", "stop"), ("rain", "will it rain today"), ("what is it", "the sun")]
CLASSIFY = """
import { AutoModelForSequenceClassification, AutoTokenizer, env, pipeline } from "@huggingface/transformers";
const [folder, name, given] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = folder;
const answers = [];
const classify = await pipeline("text-classification", name, { dtype: "fp32" });
const tokenizer = await AutoTokenizer.from_pretrained(name);
const model = await AutoModelForSequenceClassification.from_pretrained(name, { dtype: "fp32" });
for (const text of JSON.parse(given)) {
    const pair = Array.isArray(text);
    const inputs = pair ? tokenizer(text[0], { text_pair: text[1] }) : tokenizer(text);
    const { logits } = await model(inputs);
    const label = pair ? null : (await classify(text))[0].label;
    answers.push({ label, logits: Array.from(logits.data) });
}
console.log(JSON.stringify(answers));
"""
EMBED = """
import { env, pipeline } from "@huggingface/transformers";
const [folder, name, given] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = folder;
const embed = await pipeline("feature-extraction", name, { dtype: "fp32" });
const answers = [];
for (const text of JSON.parse(given)) {
    const ways = [];
    for (const pooling of ["none", "cls", "mean"]) ways.push(Array.from((await embed(text, { pooling })).data));
    answers.push(ways);
}
console.log(JSON.stringify(answers));
"""


ANSWER = """
import { env, pipeline } from "@huggingface/transformers";
const [folder, name, given] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = folder;
const answer = await pipeline("question-answering", name, { dtype: "fp32" });
const answers = [];
for (const [question, context] of JSON.parse(given)) answers.push((await answer(question, context)).answer);
console.log(JSON.stringify(answers));
"""


def make(folder: Path, *, pairs: bool = False) -> Artifact:
    candidate = tiny_candidate()
    assert isinstance(candidate.model, Encoder)
    candidate.model.set_quantization(QuantSpec(4), QuantSpec(4))
    return write(candidate, Labels(LABELS), folder, pairs=pairs, manifest={})


def make_embedder(folder: Path) -> Artifact:
    candidate = tiny_candidate()
    assert isinstance(candidate.model, Encoder)
    answer_with_states(candidate.model)
    candidate.model.set_quantization(QuantSpec(4), QuantSpec(4))
    return write(candidate, Vector(candidate.model.config.outputs), folder, pairs=False, manifest={})


def test_the_script_in_the_docs_needs_only_onnxruntime_tokenizers_and_numpy(tmp_path: Path) -> None:
    artifact = make(tmp_path / "artifact")
    (script,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(script.splitlines()) <= 15
    (tmp_path / "script.py").write_text(
        script + 'assert not {"torch", "transformers", "eicompress"} & set(sys.modules)\n', encoding="utf-8"
    )
    texts = [str(text) for text in TEXTS]
    command = [sys.executable, "-X", "utf8", str(tmp_path / "script.py"), str(artifact.folder), *texts]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [each.label for each in runtime.load(artifact.folder).predict(texts)]


@pytest.fixture(scope="module")
def node_modules() -> Path:
    """A folder where Node finds transformers.js: installed once, and kept between runs."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node and npm")
    folder = Path(tempfile.gettempdir()) / f"eicompress-transformers-js-{TRANSFORMERS_JS}"
    folder.mkdir(exist_ok=True)
    if not (folder / "done").exists():
        # Without scripts: the one of onnxruntime-node fetches CUDA, which nobody needs here.
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        command += ["--prefix", str(folder), f"@huggingface/transformers@{TRANSFORMERS_JS}"]
        subprocess.run(command, check=True, capture_output=True)
        (folder / "done").touch()
    (folder / "classify.mjs").write_text(CLASSIFY)
    (folder / "embed.mjs").write_text(EMBED)
    (folder / "answer.mjs").write_text(ANSWER)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [False, True])
def test_transformers_js_gives_the_same_labels(tmp_path: Path, node_modules: Path, pairs: bool) -> None:
    same_in_node(make(tmp_path / "artifact", pairs=pairs), TEXTS + PAIRS if pairs else TEXTS, node_modules)


@pytest.mark.slow
def test_transformers_js_reads_words_as_tf_idf_does(tmp_path: Path, node_modules: Path) -> None:
    train = Examples(("play the song", "déjà, the rain", "Play_it", "ÄÖ RAIN") * 4, np.array([0, 1] * 8))
    found = fit_tfidf(Classification(LABELS), train, 0, None)
    assert found is not None
    same_in_node(write_files(found.files, tmp_path / "artifact", {}), TEXTS, node_modules)


@pytest.mark.slow
def test_transformers_js_answers_questions_from_their_contexts(tmp_path: Path, node_modules: Path) -> None:
    """Words of one token, since it may begin inside of a word."""
    texts: list[Text] = [("what is it", each) for each in (*MUSIC, *WEATHER) if " a " not in f" {each} "]
    candidate = tiny_candidate()
    answer_words(candidate.encoder)
    artifact = write(candidate, AnswerSpan(), tmp_path / "artifact", pairs=True, manifest={})
    found = runtime.load(artifact.folder).predict(texts)
    assert in_node("answer.mjs", artifact, texts, node_modules) == [each.answer for each in found]


@pytest.mark.slow
def test_transformers_js_gives_the_same_vectors_by_any_pooling(tmp_path: Path, node_modules: Path) -> None:
    artifact = make_embedder(tmp_path / "artifact")
    found = np.array(in_node("embed.mjs", artifact, TEXTS, node_modules))  # (texts, ways of pooling, width)
    assert np.abs(found - runtime.load(artifact.folder).logits(TEXTS)[:, None]).max() < 0.01


def test_sentence_transformers_is_shown_the_vector_as_the_state_of_one_token(tmp_path: Path) -> None:
    artifact = make_embedder(tmp_path / "artifact")
    model = runtime.load(artifact.folder)
    (feed,) = model.feeds(TEXTS[:1])
    (states,) = model.session.run(["last_hidden_state"], feed)
    assert states.shape == (1, 1, 24) and np.array_equal(states[:, 0], model.logits(TEXTS[:1]))
    modules = json.loads((artifact.folder / "modules.json").read_text())
    assert [each["path"] for each in modules] == ["", "1_Pooling"]
    pooled = json.loads((artifact.folder / "1_Pooling" / "config.json").read_text())
    assert pooled == {
        "word_embedding_dimension": 24,
        "pooling_mode_cls_token": True,
        "pooling_mode_mean_tokens": False,
    }
    assert sum(bytes_by_group(artifact).values()) == round(artifact.size_mb * 1e6)
    assert not (make(tmp_path / "classifier").folder / "modules.json").exists()


def same_in_node(artifact: Artifact, texts: list[Text], node_modules: Path) -> None:
    answers = in_node("classify.mjs", artifact, texts, node_modules)
    model = runtime.load(artifact.folder)
    expected = model.logits(texts)
    assert np.abs(np.array([each["logits"] for each in answers]) - expected).max() < 0.02
    for answer, prediction in zip(answers, model.predict(texts), strict=True):
        assert answer["label"] in (prediction.label, None)


def in_node(script: str, artifact: Artifact, texts: list[Text], node_modules: Path) -> Any:
    """What a script answers to texts, as JSON."""
    command = ["node", script, f"{artifact.folder.parent}/", artifact.folder.name, json.dumps(texts)]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=node_modules, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])

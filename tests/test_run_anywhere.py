"""An artifact runs without eicompress: from the script in the docs, and with transformers.js."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from eicompress import runtime
from eicompress.answers import AnswerSpan, Labels
from eicompress.contracts import Examples
from eicompress.encoder.heads import answer_words
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.export.folder import write, write_files
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
    (node_modules / "answer.mjs").write_text(ANSWER)
    command = ["node", "answer.mjs", f"{tmp_path}/", "artifact", json.dumps(texts)]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=node_modules, check=False)
    assert result.returncode == 0, result.stderr
    found = runtime.load(artifact.folder).predict(texts)
    assert json.loads(result.stdout.splitlines()[-1]) == [each.answer for each in found]


def same_in_node(artifact: Artifact, texts: list[Text], node_modules: Path) -> None:
    command = ["node", "classify.mjs", f"{artifact.folder.parent}/", artifact.folder.name, json.dumps(texts)]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=node_modules, check=False)
    assert result.returncode == 0, result.stderr
    answers = json.loads(result.stdout.splitlines()[-1])
    model = runtime.load(artifact.folder)
    expected = model.logits(texts)
    assert np.abs(np.array([each["logits"] for each in answers]) - expected).max() < 0.02
    for answer, prediction in zip(answers, model.predict(texts), strict=True):
        assert answer["label"] in (prediction.label, None)

"""Commands about an artifact: predict, measure, compare and export."""

import itertools
import sys
from typing import TYPE_CHECKING, Any

import click

from eicompress.cli.options import console_of, json_option, options, print_json
from eicompress.errors import SpecError, shortened
from eicompress.parsing import Bounds, whole
from eicompress.settings import PROCESSORS, TRIALS, Data, LatencySettings, PluginSettings, TaskSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eicompress.answers import Prediction
    from eicompress.answers.kind import Array
    from eicompress.runtime import Length, Model
    from eicompress.values import Text

BLOCK = 256
"""Texts that are read before the first is answered, where several are answered at a time."""


@click.command()
@click.argument("artifact")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--task", metavar="NAME", help="The task to answer, of an artifact of several.  [all that read the text]")
@click.option("--top", metavar="N", help="The N likeliest labels, each with its probability.")
@click.option("--reject", is_flag=True, help="Answer - where the model is not sure enough that a label fits.")
@click.option("--similarity", is_flag=True, help="The cosine of the two texts of each TEXT, with a tab between them.")
@click.option("--dimensions", metavar="N", help="The first N dimensions of a vector, at length one again.")
@click.option("--int8", is_flag=True, help="A vector as whole numbers from -127 to 127.")
@click.option("--parallel", metavar="N", default="1", help="Texts read at a time.  [1]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
def predict(
    artifact: str,
    texts: tuple[str, ...],
    task: str | None,
    top: str | None,
    reject: bool,
    parallel: str,
    as_json: bool,
    **of_vectors: Any,
) -> None:
    """Print the answer to each TEXT, or to each line of stdin.

    ARTIFACT is a folder, or STUDY:7 for the artifact of trial 7. A pair of texts, or a question and its context, is one
    TEXT with a tab between the two. A line of output is the answer, and then the text:

    \b
    labels             the label and its confidence
    sets of labels     each label that is answered, with its probability
    numbers            the number
    tagged words       of each entity its type, characters and words
    intents and slots  the intent, its confidence, and the slots as entities
    questions          the answer, its characters and its confidence
    vectors            the vector; with --similarity the cosine of a pair
    several tasks      NAME=ANSWER as above, of each task that reads such a
                       text; with --task that of one task alone

    Characters are counted from 0: the first one, and the one after the last. Where there is no answer it is -.

    With --top it is one line a label, the likeliest first; in JSON they are `top`. Of a set of labels each line says
    whether the label is answered, or - where its probability is below the threshold. With --reject a text that seems to
    belong to no label is answered with - (null in JSON): its confidence is below `reject_below` in the artifact's
    `config.json`, chosen on validation. With --dimensions and --int8 vectors are shorter, and their cosines differ a
    little. A text that is longer than the model reads is cut, with a note on stderr. With --parallel, lines are read in
    blocks, and each of N threads answers a text; the answers are the same.

    \b
    eicompress predict studies/my-data/artifacts/trial-0007 "book me a flight"
    eicompress predict my-artifact --top 3 --json < texts.txt
    """
    from eicompress import api

    count, at_a_time = None if top is None else TRIALS(top, "--top"), PROCESSORS(parallel, "--parallel")
    model = api.load(artifact, task=task)
    if top is not None and not model.answer.ranks:
        raise SpecError(
            f"`--top` must be asked of a model of labels, but this one is {model.answer.a_model}: leave it out"
        )
    vectors_of = _vectors_of(model, of_vectors, at_a_time)
    if top is not None and reject:
        raise SpecError("`--top` must list labels, but `--reject` leaves them out: leave one of the two out")
    if of_vectors["similarity"] and reject:
        raise SpecError("`--similarity` must compare two texts, but `--reject` answers with labels: leave one out")
    if not model.checked:
        click.echo("note: no manifest lies beside the artifact, so its files are unchecked", err=True)
    # Some editors write a mark of the byte order (BOM) before the first line of a file.
    numbered = enumerate(texts or (line.rstrip("\r\n").removeprefix("\ufeff") for line in sys.stdin), start=1)
    while block := list(itertools.islice(numbered, 1 if at_a_time == 1 else BLOCK)):
        if of_vectors["similarity"]:
            _show_similarities(vectors_of, block, as_json=as_json)
            continue
        sides = [_sides(text, model, place) for place, text in block]
        tops: Sequence[Sequence[Prediction] | None] = [None] * len(sides)
        if model.answer.unit and not reject:
            answers: Sequence[Prediction] = model.answer.decode(vectors_of(sides), sides)
        elif count is None:
            answers = model.predict(sides, parallel=at_a_time, reject=reject)
        else:
            logits = model.logits(sides, parallel=at_a_time)
            answers, tops = model.answer.decode(logits, sides), model.answer.choices(logits, sides, count)
        for (place, text), found, likeliest, length in zip(block, answers, tops, model.lengths(sides), strict=True):
            _show_answer(text, found, likeliest, length, place, as_json=as_json)


def _vectors_of(model: "Model", asked: "Mapping[str, Any]", parallel: int) -> "Callable[[Sequence[Text]], Array]":
    """A function of texts: their vectors (n, dimensions), cut and rounded as is asked. Raises `SpecError`."""
    from eicompress.answers.vector import eight_bits, first

    for name, value in asked.items():
        if value and not model.answer.unit:
            raise SpecError(
                f"`--{name}` must be asked of a model of vectors, but this one is {model.answer.a_model}: leave it out"
            )
    width = model.answer.outputs
    count = width if asked["dimensions"] is None else whole(asked["dimensions"], "--dimensions", Bounds(1, width))

    def vectors_of(texts: "Sequence[Text]") -> "Array":
        vectors: Array = model.logits(texts, parallel=parallel)
        vectors = vectors if count == width else first(vectors, count)
        return eight_bits(vectors) if asked["int8"] else vectors

    return vectors_of


def _show_similarities(
    vectors_of: "Callable[[Sequence[Text]], Array]", block: "Sequence[tuple[int, str]]", *, as_json: bool
) -> None:
    from eicompress.answers.vector import first

    pairs = [_two_texts(text, place, "`--similarity` compares two texts") for place, text in block]
    one, other = (first(vectors_of([pair[side] for pair in pairs])) for side in (0, 1))
    for (_, text), cosine in zip(block, (one * other).sum(axis=1), strict=True):
        if as_json:
            print_json({"text": text, "similarity": float(cosine)}, indent=None)
        else:
            click.echo(f"{cosine:.4f}\t{text}")


def _show_answer(
    text: str,
    found: "Prediction",
    likeliest: "Sequence[Prediction] | None",
    length: "Length",
    place: int,
    *,
    as_json: bool,
) -> None:
    if length.cut:
        click.echo(f"note: text {place} is cut: {length.read} of its {length.tokens} tokens were read", err=True)
    if as_json:
        top = {} if likeliest is None else {"top": [each.to_json() for each in likeliest]}
        print_json({"text": text, **found.to_json(), **top}, indent=None)
    else:
        for each in (found,) if likeliest is None else likeliest:
            click.echo("\t".join((*each.columns, text)))


@click.command()
@click.argument("artifact")
@options(Data, data="Data to measure the quality on; its test split if it has one. NAME=DATA for that of a task.")
@options(TaskSettings)
@options(LatencySettings, seq_len="Tokens that latency is measured with.  [16, 64 and 128]")
@options(PluginSettings)
@json_option
def measure(artifact: str, as_json: bool, **written: Any) -> None:
    """Measure an artifact: size, latency, and quality on data.

    \b
    eicompress measure my-artifact --data my-data
    eicompress measure my-artifact --seq-len 32 --threads 2 --json
    """
    from eicompress import api
    from eicompress.reporting import tables

    measured = api.measure(artifact, **written)
    if as_json:
        print_json({"artifact": artifact, "measurements": [vars(each) for each in measured]})
    else:
        tables.show_measurements(console_of(False), measured)


@click.command()
@click.argument("artifacts", nargs=-1, metavar="ARTIFACT...")
@options(Data, data="Data to compare on; its test split if it has one. NAME=DATA for that of a task.")
@options(TaskSettings)
@options(LatencySettings)
@click.option("--output", metavar="PATH", help="HTML page to write, such as comparison.html.")
@options(PluginSettings)
@json_option
def compare(artifacts: tuple[str, ...], as_json: bool, **written: Any) -> None:
    """Compare artifacts with the first one, on the same data.

    Differences in quality have a 95 % interval, from a bootstrap over the texts,
    and the p-value of McNemar's test: the probability of such a difference by chance.

    \b
    eicompress compare small large --data my-data
    eicompress compare small large --data my-data --output comparison.html
    """
    from eicompress import api
    from eicompress.reporting import tables

    found = api.compare(artifacts, **written)
    if as_json:
        print_json(found.to_json())
    else:
        tables.show_comparison(console_of(False), found)
        if written["output"]:
            click.echo(f"drawn in {written['output']}")


@click.command()
@click.argument("artifact")
@click.option("--to", metavar="TARGET", default="zip", help="zip, hf, or that of a plug-in.  [zip]")
@click.option("--output", metavar="PATH", help="What to write.  [ARTIFACT.zip or ARTIFACT-hf]")
@options(PluginSettings)
def export(artifact: str, **written: Any) -> None:
    """Write an artifact for a target: one zip, or the model hub.

    The zip holds the artifact's files and nothing else. The folder for the hub
    (hf) has the model card too, README.md with the hub's metadata; its licence is
    for you to choose. `eicompress plugins list` has all targets.

    \b
    eicompress export studies/my-data/artifacts/trial-0007 --to zip
    eicompress export my-artifact --to hf --output my-model
    """
    from eicompress import api

    package = api.pack(artifact, **written)
    click.echo(f"{package.path}  {package.size_mb:.3f} MB")


def _sides(text: str, model: "Model", place: int) -> str | tuple[str, str]:
    pair = model.pairs and ("\t" in text or not model.answer.mixed)
    return _two_texts(text, place, "this artifact reads pairs") if pair else _not_empty(text, place)


def _two_texts(text: str, place: int, why: str) -> tuple[str, str]:
    first, tab, second = text.partition("\t")
    if not tab:
        raise SpecError(f"{why}, so a TEXT must have a tab between its two sides, but got {shortened(repr(text))}")
    return _not_empty(first, place), _not_empty(second, place)


def _not_empty(text: str, place: int) -> str:
    if not text.strip():
        raise SpecError(f"a TEXT must not be empty, but text {place} is: take it out")
    return text

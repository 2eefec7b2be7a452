"""Kinds of answers, one file each: what a model's logits mean, without torch.

Used by `runtime` to decode, by `export` to write and check, by `training` for losses, and by reports to count mistakes.
"""

from collections.abc import Mapping

from eicompress.answers.graph_output import GraphOutput, logits_of_outputs
from eicompress.answers.intent_and_slots import INTENTS, IntentAndSlots, IntentAndSlotsPrediction
from eicompress.answers.kind import Answer, Chart, Curve, Factors, Mistakes, Prediction, Table, id2label
from eicompress.answers.label import LabelPrediction, Labels
from eicompress.answers.label_set import EVEN, PROBLEM, LabelChoice, LabelSet, LabelSetPrediction
from eicompress.answers.multi_task import TASKS, MultiTask, MultiTaskPrediction
from eicompress.answers.number import Number, NumberPrediction
from eicompress.answers.rejection import NEVER
from eicompress.answers.span import AnswerSpan, SpanPrediction
from eicompress.answers.tag import Entity, TagPrediction, Tags
from eicompress.answers.task_part import OneTask, Part
from eicompress.answers.teacher_outputs import TeacherOutputs
from eicompress.answers.vector import DIMENSIONS, Vector, VectorPrediction
from eicompress.values import Json

__all__ = [
    "Answer",
    "AnswerSpan",
    "Chart",
    "Curve",
    "Entity",
    "Factors",
    "GraphOutput",
    "IntentAndSlots",
    "IntentAndSlotsPrediction",
    "LabelChoice",
    "LabelPrediction",
    "LabelSet",
    "LabelSetPrediction",
    "Labels",
    "Mistakes",
    "MultiTask",
    "MultiTaskPrediction",
    "Number",
    "NumberPrediction",
    "OneTask",
    "Part",
    "Prediction",
    "SpanPrediction",
    "Table",
    "TagPrediction",
    "Tags",
    "TeacherOutputs",
    "Vector",
    "VectorPrediction",
    "from_json",
    "logits_of_outputs",
    "of_config",
]


def from_json(value: Json) -> Answer:
    """The answer that `to_json` wrote. Raises `KeyError` for a kind that is not known."""
    if value["kind"] == Labels.kind:
        return Labels(tuple(map(str, value["labels"])), str(value["quality"]), float(value["reject_below"]))
    if value["kind"] == MultiTask.kind:
        return MultiTask(tuple(map(_part, value["parts"])))
    if value["kind"] == LabelSet.kind:
        return LabelSet(tuple(map(str, value["labels"])), str(value["quality"]), float(value["threshold"]))
    if value["kind"] == Number.kind:
        return Number(float(value["mean"]), float(value["deviation"]))
    if value["kind"] == AnswerSpan.kind:
        chosen = value["no_answer_above"]
        return AnswerSpan(None if chosen is None else float(chosen), str(value["quality"]))
    if value["kind"] == Tags.kind:
        return Tags(tuple(map(str, value["tags"])))
    if value["kind"] == IntentAndSlots.kind:
        return IntentAndSlots(tuple(map(str, value["tags"])), tuple(map(str, value["intents"])))
    if value["kind"] == Vector.kind:
        return Vector(int(value["width"]))
    raise KeyError(value["kind"])


def _part(value: Json) -> Part:
    answer = from_json(value["answer"])
    if not isinstance(answer, OneTask):
        raise KeyError(answer.kind)
    return Part(str(value["name"]), answer, bool(value["pairs"]))


def of_config(config: Json) -> Answer | None:
    """The answer that a `config.json` describes, in the model's own units; None if it names no outputs.

    As in `transformers`, one output alone is a number, the model's class says whether each word is answered, or where
    an answer begins and ends, and `problem_type` whether each label is answered on its own. Vectors have an entry of
    our own, and so have intents beside tags, and several tasks.
    """
    width = config.get(DIMENSIONS)
    if isinstance(width, int) and not isinstance(width, bool) and width > 0:
        return Vector(width)
    said = config.get("id2label")
    named = {str(number): str(name) for number, name in said.items()} if isinstance(said, Mapping) else {}
    if not named or not all(str(number) in named for number in range(len(named))):
        return None
    names = tuple(named[str(number)] for number in range(len(named)))
    if TASKS in config:
        return _of_tasks(config[TASKS], names)
    classes = config.get("architectures")
    named_classes = [str(each) for each in classes] if isinstance(classes, list) else []
    if any(each.endswith(Tags.architecture) for each in named_classes):
        intents = config.get(INTENTS)
        if isinstance(intents, int) and not isinstance(intents, bool) and 0 < intents < len(names):
            return IntentAndSlots(names[:-intents], names[-intents:])
        return Tags(names)
    if any(AnswerSpan.architecture in each for each in named_classes) and len(names) == 2:
        above = config.get("no_answer_above")
        return AnswerSpan(None if above is None else _share(above, EVEN))
    if config.get("problem_type") == PROBLEM:
        return LabelSet(names, threshold=_share(config.get("threshold"), EVEN))
    return Number() if len(names) == 1 else Labels(names, reject_below=_share(config.get("reject_below"), NEVER))


def _of_tasks(tasks: object, labels: tuple[str, ...]) -> MultiTask | None:
    """The answer of these tasks, which have the labels one after the other; None where their counts do not fit, one of
    them answers something else than one of several tasks does, or those that answer words are not the last ones."""
    parts, start = [], 0
    for each in tasks if isinstance(tasks, list) else []:
        count = each.get("labels") if isinstance(each, Mapping) else None
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            return None
        own = of_config({**each, "id2label": id2label(labels[start : start + count])})
        if not isinstance(own, OneTask):
            return None
        parts.append(Part(str(each.get("name")), own, bool(each.get("pairs", False))))
        start += count
    words_last = sorted(parts, key=lambda part: part.answer.per_word) == parts
    return MultiTask(tuple(parts)) if parts and words_last and start == len(labels) else None


def _share(value: object, otherwise: float) -> float:
    """A number between 0 and 1 of a config."""
    return value if isinstance(value, float) and 0 < value < 1 else otherwise

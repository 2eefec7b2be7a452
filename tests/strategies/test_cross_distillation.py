from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from eicompress.cache import Cache
from eicompress.contracts import Candidate, Context, Examples, Training
from eicompress.encoder.tokens import Batch, tokenize
from eicompress.strategies.cross_distillation import CrossDistillation, _Both, _Side, _Teacher
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.thin_student import ThinStudent
from eicompress.training.trainer import Checkpoints
from tests.conftest import ContextMaker, tiny_candidate, tiny_examples

SHORT = CrossDistillation(epochs=2, distortions=1, learning_rate=3e-3)
LEARNING = replace(SHORT, teacher_updates="joint", start=0.0, teacher_rate=0.1)


def narrow(context: Context) -> Candidate:
    """Two of three layers, and 16 of 24 dimensions."""
    return ThinStudent(layers=2, hidden=0.67).apply(tiny_candidate(), context)


def logits_of(candidate: Candidate) -> torch.Tensor:
    batch = first_batch(candidate)
    with torch.no_grad():
        return candidate.model.eval()(batch.input_ids, batch.attention_mask, batch.token_type_ids)


def first_batch(candidate: Candidate, step: int = 0, steps: int = 1) -> Batch:
    tokens = tokenize(candidate.tokenizer, tiny_examples().texts)
    return replace(tokens.batch(np.arange(16), 0, "cpu"), step=step, steps=steps)


@pytest.mark.parametrize("head", ["frozen", "tied", "copy"])
@pytest.mark.parametrize("bits", [None, 4])
def test_the_projector_is_folded_into_the_head(make_context: ContextMaker, head: str, bits: int | None) -> None:
    context = make_context()
    student = narrow(context)
    if bits:
        student = Quantization(layer_bits=4).apply(student, context)
    names = set(student.model.state_dict())
    before_folding = []

    def fit(candidate: Candidate, training: Training) -> None:
        context.fit(candidate, training)
        before_folding.append(logits_of(candidate))

    step = replace(LEARNING, head=head)
    made = step.apply(student, replace(context, fit=fit))
    assert set(made.model.state_dict()) == names
    assert made.model.classifier.weight.shape == (2, 16)
    assert torch.allclose(logits_of(made), before_folding[0], atol=1e-5)


def test_the_student_begins_with_the_teachers_head_in_the_dimensions_that_it_kept(make_context: ContextMaker) -> None:
    context = make_context()
    student = narrow(context)
    initial = []
    SHORT.apply(student, replace(context, fit=lambda candidate, _: initial.append(candidate.model.classifier.weight)))
    kept = list(student.origin.hidden)
    assert torch.equal(initial[0], context.baseline.model.classifier.weight[:, kept])


@pytest.mark.parametrize(("head", "changes"), [("frozen", False), ("tied", False), ("copy", True)])
def test_only_a_copy_of_the_head_learns_without_the_teacher(
    make_context: ContextMaker, head: str, changes: bool
) -> None:
    context = make_context()
    made = replace(SHORT, head=head).apply(narrow(context), context)
    same = torch.equal(made.model.classifier.bias, context.baseline.model.classifier.bias)
    assert same is not changes


def sides(seed: int) -> _Side:
    generator = torch.Generator().manual_seed(seed)
    return _Side(torch.randn(3, 2, generator=generator), torch.randn(3, 24, generator=generator))


def kl(teacher: torch.Tensor, student: torch.Tensor, temperature: float) -> torch.Tensor:
    p = (teacher / temperature).softmax(dim=1)
    return temperature**2 * (p * (p / (student / temperature).softmax(dim=1)).log()).sum(dim=1).mean()


def test_the_losses_are_those_that_the_docs_state(make_context: ContextMaker) -> None:
    context = make_context()
    step = replace(
        LEARNING, temperature=3.0, label_weight=0.25, feature_weight=2.0, teacher_kl=0.5, teacher_feature=4.0
    )
    train = tiny_examples(1)
    texts = [*train.texts, *train.texts]
    teacher = _Teacher(step, context, train, texts)
    held_out = int(teacher.judged[0])
    learned = (held_out + 1) % 10
    both = _Both(step, context, context.baseline.model, torch.nn.Parameter(), teacher, torch.from_numpy(train.targets))
    teacher, learner, rows = sides(0), sides(1), torch.tensor([learned, held_out, 15])  # the last one is a distortion
    labels = torch.from_numpy(train.targets)[rows[:2]]
    expected = (
        0.75 * kl(teacher.logits, learner.logits, 3.0)
        + 0.25 * (2 / 3) * F.cross_entropy(learner.logits[:2], labels)
        + 2.0 * (learner.features - teacher.features).square().mean()
    )
    assert torch.allclose(both._student_loss(learner, teacher, rows), expected)
    expected = (
        F.cross_entropy(teacher.logits[:1], labels[:1])
        + 0.5 * kl(learner.logits[:1], teacher.logits[:1], 3.0)
        + 4.0 * (learner.features[:1] - teacher.features[:1]).square().mean()
    )
    assert torch.allclose(both._teacher_loss(teacher, learner, rows), expected)


def who_learned(context: Context, knobs: CrossDistillation, step: int) -> set[str]:
    """Whose weights have a gradient in a step of 12."""
    student = tiny_candidate()
    found = set()

    def fit(candidate: Candidate, training: Training) -> None:
        training.loss(first_batch(candidate, step, 12)).backward()
        models = {"student": candidate.model.layers, "teacher": training.extra}
        for name, model in models.items():
            if any(each.grad is not None for each in model.parameters()):
                found.add(name)

    knobs.apply(student, replace(context, fit=fit))
    return found


@pytest.mark.parametrize("layers", [0, 1])
def test_teacher_and_student_learn_in_their_turns(make_context: ContextMaker, layers: int) -> None:
    context = make_context()
    joint = replace(LEARNING, head="copy", start=0.5, teacher_layers=layers)
    assert [who_learned(context, joint, step) for step in (5, 6)] == [{"student"}, {"student", "teacher"}]
    turns = replace(joint, teacher_updates="alternating", student_steps=2)
    expected = [{"student"}, {"student"}, {"student"}, {"student"}, {"teacher"}]
    assert [who_learned(context, turns, step) for step in (2, 5, 6, 7, 8)] == expected


def test_a_teacher_that_forgets_goes_back_and_stops(make_context: ContextMaker) -> None:
    context = make_context()
    train = tiny_examples()
    answers = context.teacher.outputs(train.texts).logits.argmax(axis=1)
    step = replace(LEARNING, epochs=20, learning_rate=1e-2, teacher_rate=1.0, held_out=0.1, floor=0.9)
    probe = _Teacher(step, context, train, list(train.texts))
    wrong = 1 - answers
    wrong[probe.judged] = answers[probe.judged]  # right where it is judged, wrong where it learns
    context = replace(context, train=Examples(train.texts, wrong))
    kept = []

    def fit(candidate: Candidate, training: Training) -> None:
        context.fit(candidate, training)
        kept.append(training.extra)

    facts = step.apply(tiny_candidate(), replace(context, fit=fit)).facts["cross_distillation"]
    assert facts["teacher_stopped"] and facts["teacher_before"] == 1.0 and facts["teacher_after"] >= 0.9
    assert kept[0]._judged() >= 0.9


class Killed(BaseException):
    """As if the process ended here."""


def test_a_killed_training_of_both_goes_on_bit_for_bit(make_context: ContextMaker, tmp_path) -> None:
    context = make_context()
    step = replace(LEARNING, teacher_layers=1, head="tied", epochs=1)
    fit = replace(context.fit, checkpoints=Checkpoints(Cache(tmp_path), "key", seconds=0.0))
    whole = step.apply(narrow(context), context)

    def killed(candidate: Candidate, training: Training) -> None:
        def loss(batch: Batch) -> torch.Tensor:
            if batch.step == 3:
                raise Killed
            return training.loss(batch)

        fit(candidate, replace(training, loss=loss))

    with pytest.raises(Killed):
        step.apply(narrow(context), replace(context, fit=killed))
    resumed = step.apply(narrow(context), replace(context, fit=fit))
    for name, each in whole.model.state_dict().items():
        assert torch.equal(each, resumed.model.state_dict()[name]), name
    assert resumed.facts == whole.facts


def test_the_student_comes_nearer_to_its_teacher(make_context: ContextMaker) -> None:
    context = make_context()
    student = narrow(context)
    teacher = logits_of(context.baseline)
    before = (logits_of(student) - teacher).abs().mean()
    made = replace(SHORT, epochs=10).apply(student, context)
    assert (logits_of(made) - teacher).abs().mean() < 0.5 * before


def test_a_preview_changes_nothing(make_context: ContextMaker) -> None:
    student = tiny_candidate()
    assert SHORT.apply(student, make_context(preview=True)) is student
    assert torch.equal(student.model.classifier.weight, tiny_candidate().model.classifier.weight)

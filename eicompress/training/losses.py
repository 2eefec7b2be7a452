"""Losses between a student and its teacher: each is a mean over a batch, and zero if the two agree.

States are (B, T, width), masks (B, T) with 1 for real tokens, attention maps and relations (B, heads, T, T) with rows
that sum to one over the real keys. The teacher's side should carry no gradient.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from eicompress.answers import Answer, AnswerSpan, IntentAndSlots, LabelSet, MultiTask, Number, Vector
from eicompress.encoder.blocks import attention_map
from eicompress.tasks.intent_and_slots import slots_and_intents

RELATIONS = 1.0
"""Weight of the cosines within a batch, against that of the vectors themselves."""
SHARPNESS = 0.05
"""Temperature of the softmax over cosines."""
UNREAD = -1e4
"""The logit of what was not read, in a softmax over words."""
TINY = 1e-12
"""Below this, a probability counts as this in a logarithm."""


def logit_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """temperature² x KL(teacher || student) of logits (B, outputs), softened (Hinton et al., arXiv 1503.02531)."""
    softened = F.log_softmax(student / temperature, dim=1)
    wanted = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(softened, wanted, reduction="batchmean", log_target=True)


def same_answers(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, outputs) as they are; of (B, W, outputs) and (B, W', outputs) those of words that both read, (words,
    outputs)."""
    if student.ndim == 2:
        return student, teacher
    width = min(student.shape[1], teacher.shape[1])
    student, teacher = student[:, :width], teacher[:, :width]
    both = student.any(dim=-1) & teacher.any(dim=-1)
    return student[both], teacher[both]


def answer_loss(answer: Answer, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """How far the student's answers are from its teacher's, from logits (B, outputs), or (B, W, outputs) where each
    word is answered: the mean over texts, or words. `temperature` softens labels."""
    if isinstance(answer, AnswerSpan):
        return temperature**2 * span_kl(answer, student / temperature, teacher / temperature).mean()
    if isinstance(answer, IntentAndSlots):
        pairs = zip(slots_and_intents(answer, student), slots_and_intents(answer, teacher), strict=True)
        return sum((logit_kl(*same_answers(*pair), temperature) for pair in pairs), student.new_zeros(()))
    if isinstance(answer, MultiTask):
        losses = [student.new_zeros(())]
        for part, place in zip(answer.parts, answer.places, strict=True):
            own, wanted = place.of(student), place.of(teacher)
            asked = wanted.flatten(1).any(dim=1)
            if asked.any():
                lost = answer_loss(part.answer, own[asked], wanted[asked], temperature)
                losses.append(part.weight * asked.float().mean() * lost)
        return torch.stack(losses).sum()
    student, teacher = same_answers(student, teacher)
    if isinstance(answer, Number):
        return logit_mse(student, teacher)
    if isinstance(answer, Vector):
        return vector_distance(student, teacher)
    if isinstance(answer, LabelSet):
        return temperature**2 * label_kl(student / temperature, teacher / temperature).mean()
    return logit_kl(student, teacher, temperature)


def answer_losses(answer: Answer, student: Tensor, teacher: Tensor) -> Tensor:
    """The same, text by text (B,), at a temperature of one; the mean over the words of each."""
    if isinstance(answer, AnswerSpan):
        return span_kl(answer, student, teacher)
    if isinstance(answer, IntentAndSlots):
        (slots, intents), (wanted, others) = (slots_and_intents(answer, each) for each in (student, teacher))
        return answer_losses(answer.of_words, slots, wanted) + answer_losses(answer.of_text, intents, others)
    if isinstance(answer, MultiTask):
        student = where_answered(answer, student, teacher)
        parts = zip(answer.parts, answer.places, strict=True)
        losses = [one.weight * answer_losses(one.answer, at.of(student), at.of(teacher)) for one, at in parts]
        return torch.stack(losses).sum(dim=0)
    if student.ndim == 3:
        width = min(student.shape[1], teacher.shape[1])
        student, teacher = student[:, :width], teacher[:, :width]
        both = (student.any(dim=-1) & teacher.any(dim=-1)).to(student.dtype)
        of_words = answer_losses(answer, student.flatten(0, 1), teacher.flatten(0, 1)).reshape(both.shape)
        return (of_words * both).sum(dim=1) / both.sum(dim=1).clamp_min(1.0)
    if isinstance(answer, Number):
        return (student - teacher).square().sum(dim=1)
    if isinstance(answer, Vector):
        return 1 - F.cosine_similarity(student, teacher, dim=1)
    if isinstance(answer, LabelSet):
        return label_kl(student, teacher)
    student_log, teacher_log = F.log_softmax(student, dim=1), F.log_softmax(teacher, dim=1)
    return (teacher_log.exp() * (teacher_log - student_log)).sum(dim=1)


def where_answered(answer: Answer, student: Tensor, teacher: Tensor) -> Tensor:
    """The student's logits (B, outputs), with zeros for tasks of which the teacher's are zero: it was not asked. Of one
    task they are as they are."""
    if not isinstance(answer, MultiTask):
        return student
    parts = []
    for place in answer.places:
        asked = teacher[..., place.own].flatten(1).any(dim=1)
        parts.append(student[..., place.own] * asked.reshape(-1, *(1,) * (student.ndim - 1)))
    return torch.cat(parts, dim=-1)


def vector_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """One less the cosine of student and teacher, and `RELATIONS` times the squared difference of the cosines of all
    texts of the batch with each other (Park et al., arXiv 1904.05068); vectors (B, width) of length one."""
    own, wanted = student @ student.T, teacher @ teacher.T
    return (1 - F.cosine_similarity(student, teacher, dim=1)).mean() + RELATIONS * F.mse_loss(own, wanted)


def sensitivity(answer: Answer, loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
    """What the importance of a part is the gradient of: the task's loss.

    Of vectors, whose loss knows only the pairs that meet in a batch, it is how well each text is distinguished from the
    others: the cross-entropy of its own number, from its cosines with all texts of the batch.
    """
    if not isinstance(answer, Vector):
        return loss(logits, targets)
    cosines = logits @ logits.T / SHARPNESS
    return F.cross_entropy(cosines, torch.arange(len(logits), device=logits.device))


def label_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """(B,) KL(teacher || student) of each label's own probability, the sum over labels; logits (B, labels)."""
    wanted = teacher.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(teacher, wanted, reduction="none")
    lost = F.binary_cross_entropy_with_logits(student, wanted, reduction="none")
    return (lost - entropy).sum(dim=1)


def span_kl(answer: AnswerSpan, student: Tensor, teacher: Tensor) -> Tensor:
    """(B,) KL(teacher || student) of where answers begin, and of where they end, the mean of the two, over the words of
    the context that both read, and no answer where there may be none; logits (B, 1 + W, 2)."""
    width = min(student.shape[1], teacher.shape[1])
    student, teacher = student[:, :width].float(), teacher[:, :width].float()
    both = student.any(dim=-1) & teacher.any(dim=-1)
    both[:, 0] = answer.no_answer_above is not None
    own, wanted = (F.log_softmax(each.where(both.unsqueeze(-1), UNREAD), dim=1) for each in (student, teacher))
    return (wanted.exp() * (wanted - own)).sum(dim=1).mean(dim=1)


def logit_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of logits (B, outputs), or (B, W, outputs) (Kim et al., arXiv 2105.08919)."""
    return F.mse_loss(*same_answers(student, teacher))


def label_loss(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
    """A task's loss on the rows that have a target, the first of all texts, times their share of the batch."""
    labelled = rows < len(targets)
    if not labelled.any():
        return logits.new_zeros(())
    share = labelled.float().mean()
    return share * loss(logits[labelled], targets[rows[labelled].cpu()].to(logits.device))


def state_mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Squared distance of states (TinyBERT, arXiv 1909.10351)."""
    return _mean((student - teacher).square().mean(dim=-1), mask)


def feature_map(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Squared distance of normalized states: MobileBERT's feature map transfer (arXiv 2004.02984)."""
    width = student.shape[-1:]
    return state_mse(F.layer_norm(student, width), F.layer_norm(teacher, width), mask)


def mean_gap(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Squared distance of each state's mean over its dimensions (MobileBERT)."""
    return _mean((student.mean(dim=-1) - teacher.mean(dim=-1)).square(), mask)


def variance_gap(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Distance of each state's variance over its dimensions (MobileBERT)."""
    return _mean((student.var(dim=-1, correction=0) - teacher.var(dim=-1, correction=0)).abs(), mask)


def map_kl(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher || student) of attention maps or relations; mean over heads and real queries.

    Its gradient is that of MobileBERT's attention transfer, a cross-entropy.
    """
    divergence = (teacher * (teacher.clamp_min(TINY).log() - student.clamp_min(TINY).log())).sum(dim=-1)
    return _mean(divergence.mean(dim=1), mask)


def relation(vectors: Tensor, heads: int, mask: Tensor) -> Tensor:
    """How each token's vector relates to all others': Q-Q, K-K or V-V of MiniLMv2 (arXiv 2012.15828).

    vectors (B, T, width), split into `heads` relation heads, which must divide the width -> (B, heads, T, T).
    """
    split = vectors.reshape(*vectors.shape[:2], heads, -1).transpose(1, 2)
    return attention_map(split, split, mask[:, None, None, :].bool())


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Of values (B, T), over real tokens."""
    real = mask.to(values.dtype)
    return (values * real).sum() / real.sum()

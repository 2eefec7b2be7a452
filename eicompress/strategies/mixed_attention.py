"""`mixed_attention`: some heads of each layer become a dynamic convolution (ConvBERT, arXiv 2008.02496).

A convolution reads a window of tokens, so the heads that read most within it go. It begins as their least-squares
likeness on training texts: its weights like the shares of attention of the heads, then its values like what they said.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.blocks import SelfAttention
from eicompress.encoder.config import ConvolutionConfig
from eicompress.encoder.convolution import DynamicConvolution
from eicompress.encoder.linear import Kronecker
from eicompress.encoder.model import Encoder
from eicompress.encoder.references import check_without_references
from eicompress.errors import Inapplicable
from eicompress.training.attention_fit import KernelFit, Locality, ValueFit
from eicompress.training.importance import measured_batches, most_important, watch_inputs
from eicompress.values import seed_of


@dataclass(frozen=True)
class MixedAttention(ModelStrategy):
    """Replace a share of each layer's heads by a dynamic convolution with as many heads. Nothing is trained: let a
    distillation follow.

    The convolution's weights follow from the queries of the heads that stay.
    """

    share: Annotated[float, FloatDistribution(0.05, 0.95)] = 0.5
    """Share of a layer's heads that are replaced, at least one; one stays."""
    kernel: Annotated[Literal[3, 5, 7, 9, 13, 17], CategoricalDistribution((3, 5, 7, 9, 13, 17))] = 9
    """How many tokens the convolution reads: a token, and as many before it as after it."""

    name: ClassVar[str] = "mixed_attention"
    paper: ClassVar[str] = "ConvBERT, arXiv 2008.02496"

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.encoder
        attentions = self._attentions(model)
        counts = [min(each.heads - 1, max(1, round(self.share * each.heads))) for each in attentions]
        made = [self._new(model, *each) for each in zip(attentions, counts, strict=True)]
        facts: dict[str, Any] = {}
        if context.preview:
            heads = [torch.arange(count) for count in counts]
            for place, convolution in enumerate(made):
                _draw(convolution, seed_of(context.seed, place))
        else:
            near = [Locality(each, self.kernel // 2) for each in attentions]
            _show(near, subject, context)
            heads = [most_important(each.shares.numpy(), count) for each, count in zip(near, counts, strict=True)]
            kernels = [KernelFit(*each) for each in zip(near, made, heads, strict=True)]
            _show(kernels, subject, context)
            for fit in kernels:
                fit.solve()
            values = [ValueFit(*each) for each in zip(attentions, made, heads, strict=True)]
            _show(values, subject, context)
            facts["near"] = [round(float(each.shares[gone].mean()), 4) for each, gone in zip(near, heads, strict=True)]
            facts["explained"] = [round(each.solve(), 4) for each in values]
        for attention, convolution, gone in zip(attentions, made, heads, strict=True):
            attention.replace_heads(gone, convolution)
            for linear in (convolution.spans, convolution.kernels, convolution.values):
                linear.set_quantization(model.classifier.spec)
        model.keep_layers(range(len(model.layers)))
        facts["heads"] = [each.heads for each in model.config.layers]
        return replace(subject, facts={**subject.facts, self.name: facts})

    def _attentions(self, model: Encoder) -> list[SelfAttention]:
        """Each attention with several heads once, however many layers share it. Raises `Inapplicable`."""
        if not model.config.layers:
            raise Inapplicable(f"`{self.name}` acts on layers, but the model has none")
        check_without_references(model.config, self.name)
        found = [each for each in model.modules() if isinstance(each, SelfAttention)]
        if any(each.convolution is not None for each in found):
            raise Inapplicable(f"`{self.name}` acts on layers without convolutions, but there are some already")
        if any(each.bottleneck is not None for each in found):
            raise Inapplicable(f"`{self.name}` acts on layers without bottlenecks: put it before `bottleneck`")
        if any(isinstance(each, Kronecker) for attention in found for each in (attention.qkv, attention.output)):
            raise Inapplicable(f"`{self.name}` takes heads out of matrices: put it before `kronecker`")
        several = [each for each in found if each.heads > 1]
        if not several:
            raise Inapplicable(f"`{self.name}` replaces some heads of a layer and keeps one, but no layer has several")
        return several

    def _new(self, model: Encoder, attention: SelfAttention, count: int) -> DynamicConvolution:
        queries = attention.width - count * attention.head_size
        with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
            shape = ConvolutionConfig(count, self.kernel)
            return DynamicConvolution(model.config.hidden, queries, attention.head_size, shape)


@torch.no_grad()
def _draw(convolution: DynamicConvolution, seed: int) -> None:
    """Weights of a preview, which differ between layers: a file stores equal ones once."""
    chance = torch.Generator().manual_seed(seed)
    for parameter in convolution.parameters():
        parameter.copy_(0.02 * torch.randn(parameter.shape, generator=chance))


def _show(fits: Sequence[Locality | KernelFit | ValueFit], subject: Candidate, context: Context) -> None:
    """Show each the states that its attention is given for the training texts."""
    model = subject.encoder
    with watch_inputs([(each.attention, each.add) for each in fits]), torch.inference_mode():
        for batch, _ in measured_batches(subject, context):
            model(batch.input_ids, batch.attention_mask, batch.token_type_ids)

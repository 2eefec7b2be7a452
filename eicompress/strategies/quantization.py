"""`quantization`: weights in 8, 4 or 2 bits.

Before a training step the candidate learns with the rounding in place (quantization-aware training, with learned
scales); after it the trained weights are rounded (post-training quantization).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from optuna.distributions import CategoricalDistribution

from eicompress.contracts import Candidate, Context, ModelStrategy
from eicompress.encoder.blocks import QuantSpec
from eicompress.encoder.model import Encoder
from eicompress.errors import Inapplicable


@dataclass(frozen=True)
class Quantization(ModelStrategy):
    """Store the embedding tables and the linear layers in few bits, each in its own number."""

    embedding_bits: Annotated[Literal[4, 8], CategoricalDistribution((4, 8))] = 4
    """Bits of the word and position tables, with one scale a row."""
    layer_bits: Annotated[Literal[2, 4, 8], CategoricalDistribution((2, 4, 8))] = 4
    """Bits of the linear layers, with one scale an output; 8 bits use half their range. The embedding's projection and
    the head have as many, or 4 where these are 2."""

    name: ClassVar[str] = "quantization"
    paper: ClassVar[str] = (
        "Learned step size quantization, arXiv 1902.08153; Q8BERT, arXiv 1910.06188; 2 bits: arXiv 2502.02631"
    )

    def apply(self, subject: Candidate, context: Context) -> Candidate:
        model = subject.model
        if not isinstance(model, Encoder):
            raise Inapplicable(f"`{self.name}` acts on an encoder, but got {type(model).__name__}")
        layers = QuantSpec(self.layer_bits, reduced=self.layer_bits == 8)
        model.set_quantization(QuantSpec(self.embedding_bits), layers)
        if self.layer_bits == 2:
            for name, linear in model.linears():
                if not name.startswith("layers."):
                    linear.set_quantization(QuantSpec(4))
        return subject

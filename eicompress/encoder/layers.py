"""From shapes to layers, and back."""

from collections.abc import Sequence

from torch import nn

from eicompress.encoder.blocks import FeedForward, Layer, LayerNorm, SelfAttention
from eicompress.encoder.config import EncoderConfig, LayerConfig
from eicompress.encoder.linear import AnyLinear, Grouped, Kronecker, LowRank
from eicompress.encoder.positions import RelativePositionBias
from eicompress.errors import Inapplicable


def new_layers(config: EncoderConfig) -> list[Layer]:
    """Layers of these shapes with new weights; a part that is an earlier layer's is the same module."""
    made: list[Layer] = []
    for shape in config.layers:
        attention, ffn, norms = (
            None if number is None else made[number] for number in (shape.attention_of, shape.ffn_of, shape.norms_of)
        )
        bias = _position_bias(config, shape, made)
        layer = Layer(
            attention.attention if attention else SelfAttention(config.hidden, shape, bias),
            ffn.ffn if ffn else FeedForward(config.hidden, shape, config.activation, gated=config.gated),
            norms.attention_norm if norms else _attention_norm(config, shape),
            norms.ffn_norm if norms else LayerNorm(config.hidden, config.norm_eps),
            norm_first=config.norm_first,
        )
        made.append(layer)
    return made


def _attention_norm(config: EncoderConfig, shape: LayerConfig) -> LayerNorm | nn.Identity:
    return LayerNorm(config.hidden, config.norm_eps) if shape.attention_norm else nn.Identity()


def _position_bias(config: EncoderConfig, shape: LayerConfig, made: Sequence[Layer]) -> RelativePositionBias | None:
    if not config.position_bias:
        return None
    of = shape.position_bias_of
    return RelativePositionBias(shape.heads) if of is None else made[of].attention.position_bias


def described(layers: Sequence[Layer]) -> tuple[LayerConfig, ...]:
    """The shapes of the layers, and which of their parts are an earlier layer's."""
    attentions, ffns, norms = ([getattr(layer, name) for layer in layers] for name in ("attention", "ffn", "ffn_norm"))
    biases = [each.position_bias for each in attentions]
    return tuple(
        LayerConfig(
            heads=layer.attention.heads,
            head_size=layer.attention.head_size,
            ffn=layer.ffn.output.inputs,
            attention_of=_earlier(attentions, number),
            ffn_of=_earlier(ffns, number),
            norms_of=_earlier(norms, number),
            position_bias_of=None if biases[number] is None else _earlier(biases, number),
            rotary_base=layer.attention.rotary_base,
            window=layer.attention.window,
            attention_norm=isinstance(layer.attention_norm, LayerNorm),
            ranks=_ranks(layer),
            kroneckers=tuple(each.shape if isinstance(each, Kronecker) else (0, 0) for each in _matrices(layer)),
            expression=layer.ffn.written,
            ffn_blocks=len(layer.ffn.blocks),
            ffn_groups=len(layer.ffn.input.parts) if isinstance(layer.ffn.input, Grouped) else 1,
            convolution=None if layer.attention.convolution is None else layer.attention.convolution.shape,
        )
        for number, layer in enumerate(layers)
    )


def check_one_block(config: EncoderConfig, strategy: str) -> None:
    """Raises `Inapplicable` where a layer has several feed-forward blocks, which this strategy cannot change."""
    most = max((each.ffn_blocks for each in config.layers), default=1)
    if most > 1:
        raise Inapplicable(
            f"`{strategy}` acts on layers with one feed-forward block, but one has {most}: put it before what adds "
            "blocks, or keep one of them by `ffn_choice`"
        )


def _ranks(layer: Layer) -> tuple[int, int, int, int]:
    qkv, output, first, second = (each.rank if isinstance(each, LowRank) else 0 for each in _matrices(layer))
    return qkv, output, first, second


def _matrices(layer: Layer) -> tuple[AnyLinear, AnyLinear, AnyLinear, AnyLinear]:
    return layer.attention.qkv, layer.attention.output, layer.ffn.input, layer.ffn.output


def _earlier(modules: Sequence[nn.Module], number: int) -> int | None:
    """The place where the module at `number` stands first, or None if that is its place."""
    first = next(place for place, each in enumerate(modules) if each is modules[number])
    return None if first == number else first

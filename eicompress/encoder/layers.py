"""From shapes to layers, and back."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from eicompress.encoder.blocks import FeedForward, Layer, SelfAttention
from eicompress.encoder.bottleneck import Bottleneck, NormedLinear
from eicompress.encoder.config import EncoderConfig, LayerConfig
from eicompress.encoder.linear import AnyLinear, Grouped, Kronecker, Linear, LowRank
from eicompress.encoder.norms import LayerNorm, NoNorm, Norm, new_norm
from eicompress.encoder.positions import RelativePositionBias
from eicompress.errors import Inapplicable


def new_layers(config: EncoderConfig) -> list[Layer]:
    """Layers of these shapes with new weights; a part that is an earlier layer's is the same module."""
    made: list[Layer] = []
    for shape in config.layers:
        attention, ffn, norms = (
            None if number is None else made[number] for number in (shape.attention_of, shape.ffn_of, shape.norms_of)
        )
        layer = Layer(
            attention.attention if attention else _attention(config, shape, _position_bias(config, shape, made)),
            ffn.ffn if ffn else _feed_forward(config, shape),
            norms.attention_norm if norms else _attention_norm(config, shape),
            norms.ffn_norm if norms else new_norm(config.norm, _width(config, shape), config.sum_eps),
            _bottleneck(config, shape, made),
            norm_first=config.norm_first,
        )
        made.append(layer)
    return made


def _width(config: EncoderConfig, shape: LayerConfig) -> int:
    """In which a layer computes."""
    return config.hidden if shape.bottleneck is None else shape.bottleneck.width


def _attention(config: EncoderConfig, shape: LayerConfig, bias: RelativePositionBias | None) -> SelfAttention:
    narrowed = shape.bottleneck is not None and shape.bottleneck.attention == "query_key"
    narrow = _narrow(config, _width(config, shape)) if narrowed else None
    return SelfAttention(config.hidden, shape, bias, narrow)


def _narrow(config: EncoderConfig, width: int) -> NormedLinear:
    return NormedLinear(Linear(config.hidden, width), new_norm(config.norm, width, config.norm_eps))


def _feed_forward(config: EncoderConfig, shape: LayerConfig) -> FeedForward:
    width, between = _width(config, shape), shape.ffn_blocks - 1 if shape.ffn_norms else 0
    norms = [new_norm(config.norm, width, config.norm_eps) for _ in range(between)]
    return FeedForward(width, shape, config.activation, norms, gated=config.gated)


def _attention_norm(config: EncoderConfig, shape: LayerConfig) -> Norm | nn.Identity:
    return new_norm(config.norm, _width(config, shape), config.norm_eps) if shape.attention_norm else nn.Identity()


def _bottleneck(config: EncoderConfig, shape: LayerConfig, made: Sequence[Layer]) -> Bottleneck | None:
    if shape.bottleneck is None:
        return None
    if shape.bottleneck.of is not None:
        return made[shape.bottleneck.of].bottleneck
    width = shape.bottleneck.width
    norm = new_norm(config.norm, config.hidden, config.norm_eps)
    return Bottleneck(_narrow(config, width), Linear(width, config.hidden), norm)


def _position_bias(config: EncoderConfig, shape: LayerConfig, made: Sequence[Layer]) -> RelativePositionBias | None:
    if not config.position_bias:
        return None
    of = shape.position_bias_of
    return RelativePositionBias(shape.heads) if of is None else made[of].attention.position_bias


def described(layers: Sequence[Layer]) -> tuple[LayerConfig, ...]:
    """The shapes of the layers, and which of their parts are an earlier layer's."""
    attentions, ffns, norms = ([getattr(layer, name) for layer in layers] for name in ("attention", "ffn", "ffn_norm"))
    biases = [each.position_bias for each in attentions]
    bottlenecks = [each.bottleneck for each in layers]
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
            attention_norm=isinstance(layer.attention_norm, LayerNorm | NoNorm),
            ranks=_ranks(layer),
            kroneckers=tuple(each.shape if isinstance(each, Kronecker) else (0, 0) for each in _matrices(layer)),
            expression=layer.ffn.written,
            ffn_blocks=len(layer.ffn.blocks),
            ffn_groups=len(layer.ffn.input.parts) if isinstance(layer.ffn.input, Grouped) else 1,
            convolution=None if layer.attention.convolution is None else layer.attention.convolution.shape,
            ffn_norms=len(layer.ffn.norms) > 0,
            bottleneck=layer.attention.bottleneck
            and replace(layer.attention.bottleneck, of=_earlier(bottlenecks, number)),
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


def _earlier(modules: Sequence[nn.Module | None], number: int) -> int | None:
    """The place where the module at `number` stands first, or None if that is its place."""
    first = next(place for place, each in enumerate(modules) if each is modules[number])
    return None if first == number else first

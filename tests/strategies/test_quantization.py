from eicompress.encoder.blocks import QuantSpec
from eicompress.strategies.quantization import Quantization
from tests.conftest import ContextMaker, tiny_candidate


def test_tables_and_layers_get_their_own_bits(make_context: ContextMaker) -> None:
    made = Quantization(embedding_bits=8, layer_bits=4).apply(tiny_candidate(), make_context())
    assert {table.spec for table in made.model.embedding_tables()} == {QuantSpec(8)}
    assert {linear.spec for _, linear in made.model.linears()} == {QuantSpec(4)}


def test_8_bits_of_a_layer_use_half_their_range(make_context: ContextMaker) -> None:
    made = Quantization(embedding_bits=8, layer_bits=8).apply(tiny_candidate(), make_context())
    assert all(linear.stored()[0].abs().max() <= 64 for _, linear in made.model.linears())
    assert made.model.words.stored()[0].abs().max() > 64


def test_2_bits_are_for_the_layers_alone(make_context: ContextMaker) -> None:
    made = Quantization(layer_bits=2).apply(tiny_candidate(embedding=10), make_context())
    specs = {name.partition(".")[0]: linear.spec for name, linear in made.model.linears()}
    assert specs == {
        "layers": QuantSpec(2),
        "projection": QuantSpec(4),
        "pooler": QuantSpec(4),
        "classifier": QuantSpec(4),
    }


def test_before_training_the_weights_learn_with_the_rounding_in_place(make_context: ContextMaker) -> None:
    made = Quantization().apply(tiny_candidate(), make_context())
    classifier = made.model.classifier
    integers, scales = classifier.stored()
    assert (classifier.effective_weight() == integers * scales).all()
    classifier.train()
    classifier.effective_weight().sum().backward()
    assert classifier.weight.grad is not None and classifier.scales.grad is not None

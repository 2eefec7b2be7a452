from eicompress.training.sandwich import SubNetworks, drawn


def test_a_training_that_goes_on_draws_the_same_parts_at_each_step() -> None:
    parts = SubNetworks(lambda part, batch: batch.input_ids, 0, 0, lambda generator: int(generator.integers(2**62)))
    assert len({*drawn(parts, 3, seed=0, step=7)}) == 3
    assert drawn(parts, 3, seed=0, step=7) == drawn(parts, 3, seed=0, step=7)
    assert not {*drawn(parts, 3, seed=0, step=7)} & {*drawn(parts, 3, seed=0, step=8)}
    assert not {*drawn(parts, 3, seed=0, step=7)} & {*drawn(parts, 3, seed=1, step=7)}

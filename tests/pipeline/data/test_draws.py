from __future__ import annotations

from itertools import islice

import numpy as np

from pipeline.data.draws import Purpose, numbers, uniform


def test_numbers_are_in_range_and_evenly_spread() -> None:
    draws = uniform(0, np.arange(20_000), 0, 4)
    assert draws.shape == (20_000, 4)
    assert 0 <= draws.min() < draws.max() < 1
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(draws.var(0), 1 / 12, atol=0.003)
    counts, _ = np.histogram(draws, bins=20, range=(0, 1))
    np.testing.assert_allclose(counts / draws.size, 1 / 20, rtol=0.06)


def test_columns_neighbours_views_and_seeds_are_uncorrelated() -> None:
    ids = np.arange(20_000)
    base = uniform(0, ids, 0, 2)
    others = [
        base[:, 1],
        np.roll(base[:, 0], 1),
        uniform(0, ids, 1, 1)[:, 0],
        uniform(1, ids, 0, 1)[:, 0],
    ]
    for other in others:
        assert abs(np.corrcoef(base[:, 0], other)[0, 1]) < 0.03


def test_no_two_samples_share_a_number() -> None:
    draws = uniform(7, np.arange(5000), 3, 4)
    assert len(np.unique(draws)) == draws.size


def test_the_largest_seed_is_taken() -> None:
    assert uniform(2**32 - 1, np.arange(3), 2**20, 1).shape == (3, 1)


def test_a_stream_gives_the_numbers_of_the_table() -> None:
    table = uniform(2**32 - 1, np.array([0, 7, 2**40]), 3, 6)
    for row, sample in zip(table, (0, 7, 2**40), strict=True):
        assert list(islice(numbers(2**32 - 1, sample, 3), 6)) == row.tolist()


def test_no_two_purposes_share_a_number() -> None:
    streams = [list(islice(numbers(1, 2, 3, purpose), 1000)) for purpose in (0, *Purpose)]
    assert len({number for stream in streams for number in stream}) == 1000 * len(streams)

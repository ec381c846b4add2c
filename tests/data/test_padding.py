"""Padding."""

import numpy as np
import pytest

from generative_policies.data import pad_rows


@pytest.mark.parametrize(("rows", "padded"), [(1, 16), (15, 16), (16, 16), (17, 32), (400, 400)])
def test_rows_are_filled_up_to_the_block(rows: int, padded: int) -> None:
    array = np.arange(2 * rows).reshape(rows, 2)
    answer = pad_rows(array)
    assert answer.shape == (padded, 2)
    assert np.array_equal(answer[:rows], array)
    assert (answer[rows:] == array[-1]).all()


def test_block_of_one_pads_nothing() -> None:
    assert pad_rows(np.ones((3, 2)), block=1).shape == (3, 2)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="block"):
        pad_rows(np.ones((3, 2)), block=0)
    with pytest.raises(ValueError, match=r"\(0, 2\)"):
        pad_rows(np.ones((0, 2)))

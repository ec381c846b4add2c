import numpy as np
import pytest
import torch
from torch import nn

from generative_policies.models.arrays import as_rows, parameter_like
from generative_policies.models.normalizer import Normalizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_numbers_are_finite_though_their_sum_is_not(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    values = np.array([[largest, largest, largest], [-largest, 0.0, 1.0]])
    assert torch.equal(as_rows("obs", values, (3,), torch.zeros(1, dtype=dtype)), torch.tensor(values, dtype=dtype))


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [np.inf, 1.0], [np.inf, -np.inf], [1e300, -1e300], [-np.inf, np.nan]])
@pytest.mark.parametrize("single", [True, False])
def test_what_is_not_finite_in_the_dtype_of_the_model_is_refused(bad: list[float], single: bool) -> None:
    values = np.array(bad) if single else np.array([[0.0, 0.0], bad])
    with pytest.raises(ValueError, match="obs must be finite"):
        as_rows("obs", values, (2,), torch.zeros(1))


def test_inputs_are_made_like_a_parameter_or_else_like_a_buffer() -> None:
    linear, normalizer = nn.Linear(2, 2).double(), Normalizer(2)
    # The buffer stands first, the parameter deeper.
    assert parameter_like(nn.Sequential(normalizer, nn.Sequential(nn.SiLU(), linear))) is linear.weight
    assert parameter_like(nn.Sequential(nn.SiLU(), nn.Sequential(normalizer))) is normalizer.mean
    assert parameter_like(nn.SiLU()).dtype == torch.get_default_dtype()

"""Encoders: what they concatenate, normalise and refuse."""

import numpy as np
import pytest
import torch

from generative_policies.models import IdentityEncoder, IdentityTwoInputEncoder


def test_identity_encoder_gives_its_input_until_fitted() -> None:
    x = torch.randn(4, 3)
    assert torch.equal(IdentityEncoder(3)(x), x)


def test_two_inputs_stand_side_by_side_each_with_its_own_statistics() -> None:
    encoder = IdentityTwoInputEncoder(2, 1)
    x_1, x_2 = 100 * torch.randn(500, 2), 0.01 * torch.randn(500, 1) + 7
    assert torch.equal(encoder(x_1, x_2), torch.cat([x_1, x_2], dim=1))
    encoder.fit_normalizers(x_1, x_2)
    assert encoder.output_dim == 3
    assert torch.allclose(encoder(x_1, x_2).std(0, correction=0), torch.ones(3), atol=1e-2)


def test_rows_take_single_and_batched_numpy_and_torch() -> None:
    encoder = IdentityTwoInputEncoder(2, 1)
    for x_1, x_2 in ((np.zeros(2), np.zeros(1)), (torch.zeros(5, 2), torch.zeros(5, 1, dtype=torch.float64))):
        rows = encoder.rows((x_1, x_2))
        assert [row.dtype for row in rows] == [torch.float32] * 2
        assert rows[0].shape[1:] == (2,)


def test_a_wrong_number_of_inputs_or_shape_is_named() -> None:
    encoder = IdentityTwoInputEncoder(2, 1)
    with pytest.raises(ValueError, match="takes 2 inputs"):
        encoder.check(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"condition\[1\] must have shape \(batch, 1\), got \(3, 2\)"):
        encoder.check((torch.zeros(3, 2), torch.zeros(3, 2)))
    with pytest.raises(ValueError, match="same number of rows"):
        encoder.check((torch.zeros(3, 2), torch.zeros(4, 1)))

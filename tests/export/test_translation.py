"""Each of torch's operations is the same in ONNX, alone and where several become one."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from generative_policies.action_translation import ActionTranslator
from generative_policies.export import ExportError, OnnxModel, export_onnx

OBS, ACTION = 6, 4


def weight(*shape: int, seed: int = 0) -> Tensor:
    """Numbers from -1 to 1 that nobody draws."""
    return torch.sin(1 + seed + 2.3 * torch.arange(math.prod(shape))).reshape(shape)


class Function(ActionTranslator):
    """A translator that is a function of the observation ``(batch, OBS)`` and the source action ``(batch, ACTION)``."""

    noise_dim = 0

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(ACTION, OBS)
        self.function = function

    def translate(self, obs: Any, source_actions: Tensor, **_: Any) -> Tensor:
        return self.function(self.check_pairs(obs, source_actions)[0], source_actions)

    def forward(self, *_: Any, **__: Any) -> Tensor:
        raise NotImplementedError

    def fit_normalizers(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError


def twice(o: Tensor, a: Tensor) -> Tensor:
    product = functional.linear(o, weight(ACTION, OBS), weight(ACTION, seed=1))
    return 0.5 * product + product


def side_by_side(o: Tensor, a: Tensor) -> Tensor:
    """Sums of two layers, one of which is used again."""
    first = functional.linear(o, weight(ACTION, OBS), weight(ACTION, seed=1))
    second = functional.linear(a, weight(ACTION, ACTION, seed=2), weight(ACTION, seed=3))
    third = functional.linear(a, weight(ACTION, ACTION, seed=4), weight(ACTION, seed=5))
    return (first + second) * first + (third + functional.linear(o, weight(ACTION, OBS, seed=6), weight(ACTION)))


def scaled_and_added(o: Tensor, a: Tensor) -> Tensor:
    step = 0.25 * functional.linear(o, weight(ACTION, OBS), weight(ACTION, seed=1)).reshape(len(o), ACTION)
    return a + step + functional.linear(a, weight(ACTION, ACTION), weight(ACTION, seed=2))


def narrow_and_wide(o: Tensor, a: Tensor) -> Tensor:
    """A sum of layers of other widths, which one adds to all entries of the other."""
    return functional.linear(o, weight(1, OBS), weight(1)) + functional.linear(
        a, weight(ACTION, ACTION), weight(ACTION)
    )


def modulated(o: Tensor, a: Tensor) -> Tensor:
    scale, shift = functional.linear(o, weight(2 * ACTION, OBS)).chunk(2, dim=-1)
    return torch.addcmul(shift, scale, functional.layer_norm(a, (ACTION,)))


def modulated_and_used_again(o: Tensor, a: Tensor) -> Tensor:
    norm = functional.layer_norm(a, (ACTION,))
    again = norm.reshape(len(a), ACTION)
    return torch.addcmul(o[:, :ACTION], o[:, 2:], again) + norm


def modulated_after_a_weight(o: Tensor, a: Tensor) -> Tensor:
    return torch.addcmul(o[:, :ACTION], o[:, 2:], functional.layer_norm(a, (ACTION,), weight(ACTION)))


def modulated_to_more(o: Tensor, a: Tensor) -> Tensor:
    """The scale has an axis that the normalised vector has not."""
    norm = functional.layer_norm(a, (ACTION,))
    wide = torch.addcmul(weight(3, 1, ACTION), weight(3, 1, ACTION, seed=1), norm)  # (3, B, A)
    return wide.sum(0)


def with_constant_rows(o: Tensor, a: Tensor) -> Tensor:
    rows = torch.cat([o, weight(1, 2).expand(len(o), 2)], dim=1)
    stacked = torch.stack([a, a.new_ones(a.shape)], dim=1)  # (B, 2, A)
    return rows[:, -ACTION:] + stacked.sum(1)


def moved(o: Tensor, a: Tensor) -> Tensor:
    grid = o.reshape(len(o), 2, 3).permute(2, 0, 1).transpose(-1, -2)  # (3, 2, B)
    first, second, third = grid.unbind(0)
    return torch.cat([first.t(), (second + third).t()], dim=1)


def parts(o: Tensor, a: Tensor) -> Tensor:
    return torch.cat([o[:, 1:6:2], o.select(1, 0)[:, None]], dim=1) + o[:, [3, 0, 5, 0]] + a.squeeze(0)


def repeated(o: Tensor, a: Tensor) -> Tensor:
    return a[:, None].expand(-1, 3, -1).mean(1) + a.expand(2, -1, -1).amax(0) + o.unsqueeze(1).amin((1, 2))[:, None]


def reduced(o: Tensor, a: Tensor) -> Tensor:
    return a.softmax(-1) + o.mean(1, keepdim=True) + o.sum(-1, keepdim=True) - o.exp().sum(1, keepdim=True).log()


def activated(o: Tensor, a: Tensor) -> Tensor:
    found = functional.silu(a) + functional.gelu(a) - functional.gelu(a, approximate="tanh") * a.tanh() + a.erf()
    return found + a.relu() * a.sigmoid() + (-a).abs().sqrt() + a.sin() * a.cos() / (2 + a.cos()).reciprocal()


def combined(o: Tensor, a: Tensor) -> Tensor:
    small = torch.minimum(torch.maximum(a, o[:, :ACTION]), o.new_full((len(o), 1), 0.3))
    return 2 - torch.add(a, small, alpha=3) - torch.sub(a, o[:, 2:], alpha=0.5) * 3


def convolved(o: Tensor, a: Tensor) -> Tensor:
    chunk = o.reshape(len(o), 2, 3)
    once = functional.conv1d(chunk, weight(4, 2, 3), weight(4), stride=2, padding=1)  # (B, 4, 2)
    return functional.group_norm(once, 2, weight(4), weight(4, seed=1)).mean(-1)


def attended(o: Tensor, a: Tensor) -> Tensor:
    heads = o.reshape(len(o), 1, 3, 2)
    answer = functional.scaled_dot_product_attention(heads, heads, heads, scale=0.7)  # (B, 1, 3, 2)
    return answer.flatten(1)[:, :ACTION]


def batched_products(o: Tensor, a: Tensor) -> Tensor:
    grid = o.reshape(len(o), 3, 2)
    left = torch.bmm(grid, grid.transpose(1, 2))  # (B, 3, 3)
    members = torch.baddbmm(weight(2, 1, ACTION), o.expand(2, -1, -1), weight(2, OBS, ACTION))  # (2, B, A)
    return members.sum(0) + left.flatten(1)[:, :ACTION]


FUNCTIONS = [
    twice,
    side_by_side,
    scaled_and_added,
    narrow_and_wide,
    modulated,
    modulated_and_used_again,
    modulated_after_a_weight,
    modulated_to_more,
    with_constant_rows,
    moved,
    parts,
    repeated,
    reduced,
    activated,
    combined,
    convolved,
    attended,
    batched_products,
    lambda o, a: a,
    lambda o, a: a.clone().reshape(a.shape),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_operations_are_the_same_in_onnx(function: Callable[[Tensor, Tensor], Tensor], tmp_path: Path) -> None:
    model = Function(function)
    export_onnx(model, tmp_path / "model.onnx")
    runner = OnnxModel.load(tmp_path / "model.onnx")
    for batch in (1, 2, 7):
        obs, actions = weight(batch, OBS, seed=8), weight(batch, ACTION, seed=9)
        expected = model.predict(obs, actions)
        assert expected.shape == (batch, ACTION)
        torch.testing.assert_close(runner.predict(obs, actions), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda o, a: torch.div(a, 2, rounding_mode="floor"), "rounds"),
        (lambda o, a: a.double().float(), "float64"),
        (lambda o, a: functional.conv_transpose1d(a[:, None], weight(1, 1, 1)).squeeze(1), "transposed"),
        (lambda o, a: torch.zeros(len(a), ACTION), "does not depend"),
        (lambda o, a: a.cumsum(1), "'cumsum'.*it knows.*'?softmax"),
    ],
)
def test_what_is_not_known_is_refused(function: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        export_onnx(Function(function), tmp_path / "model.onnx")

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


def one_and_half_a_layer(o: Tensor, a: Tensor) -> Tensor:
    """Two layers of which one is scaled, in both orders, and one without a bias."""
    first = functional.linear(o, weight(ACTION, OBS), weight(ACTION, seed=1))
    second = functional.linear(a, weight(ACTION, ACTION, seed=2), weight(ACTION, seed=3))
    third = functional.linear(o, weight(ACTION, OBS, seed=4), weight(ACTION, seed=5))
    fourth = functional.linear(a, weight(ACTION, ACTION, seed=6), weight(ACTION, seed=7))
    return (0.5 * first + second) * (third + 0.25 * fourth) + functional.linear(a, weight(ACTION, ACTION))


def scaled_products(o: Tensor, a: Tensor) -> Tensor:
    return torch.addmm(a, o, weight(OBS, ACTION), alpha=0.5, beta=2) + 3.0 * torch.addmm(
        weight(ACTION), a, weight(ACTION, ACTION), alpha=0.25, beta=4
    )


def convolved_in_groups(o: Tensor, a: Tensor) -> Tensor:
    chunk = o.reshape(len(o), 2, 3)
    apart = functional.conv1d(chunk, weight(4, 1, 2), weight(4), dilation=2, groups=2)  # (B, 4, 1)
    picture = functional.conv2d(o.reshape(len(o), 1, 2, 3), weight(2, 1, 1, 2), stride=(1, 2), padding=(0, 1))
    return apart.squeeze(-1) + picture.flatten(1)[:, :ACTION]


def normalised_with_other_constants(o: Tensor, a: Tensor) -> Tensor:
    channels = torch.stack([a, a.sin()], dim=1)  # (B, 2, A)
    over_two = functional.layer_norm(channels, (2, ACTION), weight(2, ACTION), weight(2, ACTION), eps=0.5).sum(1)
    return over_two + functional.layer_norm(a, (ACTION,), eps=0.3) + functional.group_norm(channels, 1, eps=0.2).sum(1)


def normalised_far_from_zero(o: Tensor, a: Tensor) -> Tensor:
    return functional.group_norm(o.reshape(len(o), 2, 3) + 100, 1).flatten(1)[:, :ACTION]


def normalised_by_statistics(o: Tensor, a: Tensor) -> Tensor:
    mean, var = weight(2), 1.5 + weight(2, seed=1)
    channels = o.reshape(len(o), 2, 3)
    apart = functional.batch_norm(channels, mean, var, weight(2, seed=2), weight(2, seed=3), eps=0.1).flatten(1)
    return (
        apart[:, :ACTION]
        + functional.batch_norm(a, weight(ACTION), 2 + weight(ACTION))
        + functional.rms_norm(a, (ACTION,), weight(ACTION))
    )


def over_another_axis(o: Tensor, a: Tensor) -> Tensor:
    return (torch.stack([a, 2 * a], dim=1).softmax(1) * weight(2, 1)).sum(1)


def powers(o: Tensor, a: Tensor) -> Tensor:
    return a**2 - a**3 + (1 + a.abs()) ** 0.5 + (2 + a).rsqrt() + (1 + a.abs()) ** (1 + a**2) + 2**a + a.square()


def bounded(o: Tensor, a: Tensor) -> Tensor:
    found = a.clamp(-0.3, 0.5) + 2 * a.clamp(min=0.1) + 3 * a.clamp(max=0.2) + a.clamp(min=o[:, :ACTION])
    return found + 4 * functional.hardtanh(a, -0.2, 0.4) + functional.relu6(8 * a)


def chosen(o: Tensor, a: Tensor) -> Tensor:
    found = torch.where(a > 0.2, 2 * a, -1) + torch.where(a >= o[:, :ACTION], a, 0.5)
    found = found + torch.where(a < 0, weight(ACTION), a) + torch.where(a >= 0.1, 3.0, a)
    return found + (a <= 0.3) * o[:, 2:] + (a.long() == 0).float() + (a > 0).sum(1, keepdim=True)


def rectified(o: Tensor, a: Tensor) -> Tensor:
    found = functional.leaky_relu(a, 0.2) + functional.elu(a, 0.7) + functional.selu(a) + functional.softplus(a)
    return found + functional.softplus(a, beta=3) + functional.softplus(50 * a, threshold=30)


def changed_in_place(o: Tensor, a: Tensor) -> Tensor:
    angles = torch.zeros(ACTION)
    angles[0::2] = torch.arange(2.0).sin()
    angles[1::2] = torch.arange(2.0).cos()
    layer = functional.relu(functional.linear(o, weight(ACTION, OBS)), inplace=True)
    layer += angles
    chunk = functional.linear(torch.stack([o, 2 * o], dim=1), weight(ACTION, OBS))  # (B, 2, A), in three steps
    return layer.mul_(a) + functional.leaky_relu(chunk, inplace=True).sum(1)


def of_other_types(o: Tensor, a: Tensor) -> Tensor:
    found = a * torch.arange(ACTION) + a * torch.tensor(2) - torch.tensor(0.5, dtype=torch.float64) * a
    bytes_ = (100 * a.abs()).to(torch.uint8)
    found = found + bytes_ / 255 + (10 * a).long() * 3 / torch.tensor([7]) + (10 * a).long() * 0.5 + a.bool()
    return found + torch.cat([a[:, :2], (9 * a).long()[:, 2:]], dim=1) + (a > 0).float().exp() + (9 * a).long().cos()


def masked(o: Tensor, a: Tensor) -> Tensor:
    scores = a[:, :, None] * a[:, None] + torch.full((ACTION, ACTION), -torch.inf).triu(1)
    return scores.softmax(-1).sum(1) + o[:, torch.tensor([True, True, False, True, True, False])]


def attended_evenly(o: Tensor, a: Tensor) -> Tensor:
    heads = a.reshape(len(a), 1, 2, 2)
    rows = a.reshape(len(a), 2, 2)
    even = functional.scaled_dot_product_attention(heads, heads, heads, scale=0.0)
    return even.flatten(1) + functional.scaled_dot_product_attention(rows, rows, rows).flatten(1)


def taken_apart(o: Tensor, a: Tensor) -> Tensor:
    """Operations that torch makes of others."""
    return (
        functional.mish(a)
        + functional.hardswish(4 * a)
        + functional.glu(torch.cat([a, o[:, 2:]], dim=1))
        + (a.logsumexp(1, keepdim=True))
    )


FUNCTIONS = [
    twice,
    one_and_half_a_layer,
    scaled_products,
    convolved_in_groups,
    normalised_with_other_constants,
    normalised_far_from_zero,
    normalised_by_statistics,
    over_another_axis,
    powers,
    bounded,
    chosen,
    rectified,
    changed_in_place,
    of_other_types,
    masked,
    attended_evenly,
    taken_apart,
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
        (lambda o, a: a.sum(1, dtype=torch.float64).float()[:, None] + a, "float64.*sum"),
        (lambda o, a: a.view(torch.int32).float(), "int32.*view"),
        (lambda o, a: a.mean(0) + a.new_zeros(len(a), 1), "mix rows"),
        (lambda o, a: torch.ones_like(a) * a[0], "mix rows"),
        (lambda o, a: a[torch.zeros(len(a), dtype=torch.long)], "picks rows"),
        (lambda o, a: torch.stack(a.unbind(0)), "rows, in unbind"),
        (lambda o, a: a * len(a), "number of rows of the batch, in mul"),
        (lambda o, a: torch.add(a, a, alpha=len(a)), "number of rows of the batch, in add"),
        (lambda o, a: torch.add(*torch.cat([a, a]).chunk(2)), "number of rows of the batch, in split"),
        (lambda o, a: torch.native_layer_norm(a, (ACTION,), None, None, 1e-5)[1] * a, "first.*native_layer_norm"),
        (lambda o, a: a[:, :0].reshape(len(a), 2, 0).sum(2).repeat_interleave(2, 1) + a, "view"),
        (lambda o, a: torch.ops.aten.elu(a, 1, 1, 2), "input_scale"),
        (lambda o, a: functional.softplus(a, threshold=1), "threshold"),
        (lambda o, a: functional.batch_norm(a, None, None, training=True), "running statistics"),
        (lambda o, a: functional.group_norm(a[None].mT, 1)[0].mT, "number of rows.*native_group_norm"),
        (lambda o, a: functional.group_norm(a[..., None], 1, a[0])[..., 0], "weights that do not depend"),
        (lambda o, a: a + torch.full((ACTION,), torch.nan), "'add' holds NaN"),
        (lambda o, a: (-1 - a.abs()).log(), "not finite"),
        (lambda o, a: (9 * a).long().relu().float(), r"relu\.Relu_\d+"),
        (lambda o, a: o.reshape(-1, 2, 3)[:, torch.ones(2, 3, dtype=torch.bool)][:, :ACTION], "masks of one axis"),
        (lambda o, a: functional.conv_transpose1d(a[:, None], weight(1, 1, 1)).squeeze(1), "transposed"),
        (lambda o, a: torch.zeros(len(a), ACTION), "does not depend"),
        (lambda o, a: a.cumsum(1), "'cumsum'.*it knows.*'?softmax"),
    ],
)
def test_what_is_not_known_is_refused(function: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        export_onnx(Function(function), tmp_path / "model.onnx")

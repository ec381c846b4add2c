"""A recording holds what depends on the inputs, and tells the batch from all other sizes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from generative_policies.export.record import record
from generative_policies.export.recording import Batched, Constant, ExportError, Value


def rows(*widths: int) -> object:
    return lambda batch: [torch.arange(batch * width, dtype=torch.float32).reshape(batch, width) for width in widths]


def test_what_does_not_depend_on_the_inputs_is_computed_before() -> None:
    weight = torch.eye(3)

    def function(x: Tensor) -> Tensor:
        angle = torch.linspace(0, 1, 3).sin().exp()
        unused = x.cos()
        del unused
        return x @ weight.T * 2 + angle

    recording = record(function, rows(3))  # type: ignore[arg-type]
    assert [operation.name for operation in recording.operations] == ["mm", "mul", "add"]
    constant = recording.operations[-1].arguments["other"]
    assert isinstance(constant, Constant)
    torch.testing.assert_close(constant.tensor, torch.linspace(0, 1, 3).sin().exp())


def test_sizes_of_the_batch_are_told_from_others_and_constants_have_one_row() -> None:
    def function(x: Tensor, y: Tensor) -> Tensor:
        pairs = x.reshape(len(x) * 2, 3)  # (2 B, 3)
        return pairs + x.new_full((len(pairs), 1), 5.0)

    recording = record(function, rows(6, 2))  # type: ignore[arg-type]
    assert [value.shape for value in recording.inputs] == [(Batched(1), 6), (Batched(1), 2)]
    reshape, add = recording.operations
    assert reshape.outputs[0] == Value(2, (Batched(2), 3)) and recording.output == Value(3, (Batched(2), 3))
    constant = add.arguments["other"]
    assert constant.shape == (Batched(2), 1) and constant.tensor.tolist() == [[5.0]]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: -x if x.min() < -1 else x,
        lambda x: x * x.max().item(),
        lambda x: x if torch.equal(x, x.abs()) else -x,
        lambda x: x if torch.allclose(x, x.abs()) else -x,
        lambda x: x if len(x.nonzero()) > 3 else -x,
        lambda x: x if len(x[x > 1]) > 3 else -x,
        lambda x: x * max(x.tolist()[0]),
        lambda x: x * float(x.neg().numpy().max()),
        lambda x: x * float(np.asarray(x).max()),
    ],
)
def test_the_values_of_the_inputs_must_not_be_looked_at(function: Callable[[Tensor], Tensor]) -> None:
    """A graph would hold the answer for one example."""
    with pytest.raises(ExportError, match="the values of its inputs"):
        record(function, rows(2))  # type: ignore[arg-type]
    # What does not depend on them may be.
    recording = record(lambda x: x * torch.ones(2).max().item() if torch.ones(1) > 0 else x, rows(2))  # type: ignore[arg-type]
    assert [operation.name for operation in recording.operations] == ["mul"]


def test_ways_that_depend_on_the_size_of_the_batch_are_refused() -> None:
    for function in (
        lambda x: x.neg() if len(x) == 2 else x,
        lambda x: x * len(x) ** 2,
        lambda x: x * (1 / len(x)),
        lambda x: x + torch.arange(len(x))[:, None],
        lambda x: x + 1e-6 * torch.arange(len(x))[:, None],
        lambda x: x[: 5 - len(x)],
    ):
        with pytest.raises(ExportError, match="batch"):
            record(function, rows(2))  # type: ignore[arg-type]


def test_what_is_changed_in_place_is_a_new_value() -> None:
    def function(x: Tensor) -> Tensor:
        twice = 2 * x
        before = twice.exp()
        twice.add_(1).relu_()
        return twice + before

    recording = record(function, rows(2))  # type: ignore[arg-type]
    assert [operation.name for operation in recording.operations] == ["mul", "exp", "add", "relu", "add"]
    mul, exp, add, relu, last = recording.operations
    assert exp.arguments["self"] == add.arguments["self"] == mul.outputs[0]
    assert relu.arguments["self"] == add.outputs[0]
    assert (last.arguments["self"], last.arguments["other"]) == (relu.outputs[0], exp.outputs[0])


def shared(x: Tensor) -> Tensor:
    twice = 2 * x
    part = twice[:, :1]
    twice.add_(1)
    return twice + part


def part_set(x: Tensor) -> Tensor:
    answer = torch.zeros(len(x), 2)
    answer[:, 0] = x[:, 1]
    return answer


def counting(x: Tensor) -> Tensor:
    """Changes what was there before."""
    COUNTER.add_(1)
    return x * COUNTER


def used_before(x: Tensor) -> Tensor:
    table = torch.zeros(2)
    first = x + table
    table.add_(1)
    return first * table


COUNTER = torch.zeros(1)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (shared, "shares its memory"),
        (part_set, "parts of a tensor are set"),
        (counting, "it was there before"),
        (used_before, "it was used before"),
        (lambda x: (2 * x).unsqueeze_(1), "another shape"),
        (lambda x: torch.zeros(2, 2).add_(x[0]) + x, "parts of a tensor are set"),
    ],
)
def test_changes_in_place_that_others_would_see_are_refused(function: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ExportError, match=f"in place.*{message}"):
        record(function, rows(2))  # type: ignore[arg-type]
    assert COUNTER == 0

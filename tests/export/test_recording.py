"""A recording holds what depends on the inputs, and tells the batch from all other sizes."""

import pytest
import torch
from torch import Tensor

from generative_policies.export.recording import Batched, Constant, ExportError, Value, record


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


def test_a_truth_of_the_values_may_be_asked_for_and_a_number_may_not() -> None:
    def checked(x: Tensor) -> Tensor:
        if x.min() < -1:
            raise ValueError("too small")
        return -x

    assert [operation.name for operation in record(checked, rows(2)).operations] == ["neg"]  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="number that it reads out"):
        record(lambda x: x * x.max().item(), rows(2))  # type: ignore[arg-type]


def test_ways_that_depend_on_the_size_of_the_batch_are_refused() -> None:
    for function in (
        lambda x: x.neg() if len(x) == 2 else x,
        lambda x: x * len(x) ** 2,
        lambda x: x * (1 / len(x)),
        lambda x: x + torch.arange(len(x))[:, None],
        lambda x: x[: 5 - len(x)],
    ):
        with pytest.raises(ExportError, match="batch"):
            record(function, rows(2))  # type: ignore[arg-type]

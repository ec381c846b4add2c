"""Laws of every ``predict``: what goes in decides the kind of what comes out, and nothing else about it."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.properties.constructors import NOT_CONSTRUCTED, PACKAGES
from tests.properties.predictors import NAMES, PREDICTORS, built

WIDTHS = ((1, 1), (2, 3), (7, 200))
DTYPES = ("float16", "float32", "float64", "int8", "int64", "uint8", "bool")
LAYOUTS = ("contiguous", "columns first", "every second", "backwards", "read-only", "with a stride of zero")
few = settings(max_examples=30, deadline=None, derandomize=True, database=None)
parametrized = pytest.mark.parametrize("name", NAMES)


def arrays_of(name: str, widths: tuple[int, int], batch: int, dtype: str, seed: int) -> dict[str, NDArray[Any]]:
    """Random arrays for a model, small integers where they are some."""
    rng = np.random.default_rng(seed)
    predictor = PREDICTORS[name.removeprefix("exported ")]
    return {
        key: (rng.normal(size=(batch, width)) if "float" in dtype else rng.integers(0, 3, (batch, width))).astype(dtype)
        for key, width in predictor.widths(*widths).items()
    }


def laid_out(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """The same numbers, otherwise in memory."""
    if layout == "columns first":
        return np.asfortranarray(array)
    if layout == "every second":
        return np.repeat(array, 2, axis=1)[:, ::2]
    if layout == "backwards":
        return np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1]
    if layout == "with a stride of zero":
        return np.broadcast_to(array[:1], array.shape) if len(array) else array
    copied = array.copy()
    copied.flags.writeable = layout != "read-only"
    return copied


def answer(name: str, widths: tuple[int, int], arrays: dict[str, Any]) -> Any:
    return PREDICTORS[name.removeprefix("exported ")].ask(built(name, *widths), arrays)


def width_of_answer(name: str, widths: tuple[int, int]) -> int:
    return widths[1] if name.endswith(("MlpForwardDynamics", "FlowPlanner")) else widths[0]


def test_every_model_with_a_predict_is_in_the_table() -> None:
    public = {
        value
        for package in PACKAGES
        for value in (getattr(package, name) for name in package.__all__)
        if inspect.isclass(value) and issubclass(value, torch.nn.Module) and hasattr(value, "predict")
    }
    # SB3's policies and algorithms have a predict of their own kind, see test_acting.
    models = {cls for cls in public - NOT_CONSTRUCTED if "stable_baselines3" not in str(cls.__mro__)}
    assert models == {predictor.cls for predictor in PREDICTORS.values()}


@parametrized
@few
@given(
    widths=st.sampled_from(WIDTHS),
    batch=st.integers(0, 5),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(LAYOUTS),
    in_torch=st.booleans(),
    seed=st.integers(0, 99),
)
def test_kind_and_shape_are_those_of_the_input_and_memory_does_not_matter(
    name: str, widths: tuple[int, int], batch: int, dtype: str, layout: str, in_torch: bool, seed: int
) -> None:
    plain = {key: array.copy() for key, array in arrays_of(name, widths, batch, dtype, seed).items()}
    if layout == "with a stride of zero":
        plain = {key: np.repeat(array[:1], batch, axis=0) if batch else array for key, array in plain.items()}
    given_arrays: dict[str, Any] = {key: laid_out(array, layout) for key, array in plain.items()}
    if in_torch:  # which has no negative strides, and warns of arrays that it may not write
        as_tensor = {key: torch.from_numpy(array.copy()) for key, array in plain.items()}
        given_arrays = {
            key: tensor.T.contiguous().T if layout == "columns first" else tensor.repeat(1, 2)[:, : tensor.shape[1]]
            for key, tensor in as_tensor.items()
        }
    found = answer(name, widths, given_arrays)
    assert isinstance(found, torch.Tensor if in_torch else np.ndarray)
    assert tuple(found.shape) == (batch, width_of_answer(name, widths))
    assert str(found.dtype).removeprefix("torch.") == (dtype if "float" in dtype else "float32")
    assert np.array_equal(np.asarray(found), answer(name, widths, plain))
    assert np.isfinite(np.asarray(found)).all()
    for key, array in plain.items():
        assert np.array_equal(np.asarray(given_arrays[key]), array)  # as the caller left them
    if in_torch:
        assert not found.requires_grad and not found.is_inference()
    else:
        found[...] = 0  # the caller's own memory


@parametrized
@few
@given(widths=st.sampled_from(WIDTHS), batch=st.integers(1, 5), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99))
def test_a_batch_is_its_rows(name: str, widths: tuple[int, int], batch: int, dtype: str, seed: int) -> None:
    arrays = arrays_of(name, widths, batch, dtype, seed)
    rows = [answer(name, widths, {key: array[k] for key, array in arrays.items()}) for k in range(batch)]
    assert all(row.shape == (width_of_answer(name, widths),) for row in rows)
    tolerance = 1e-2 if dtype == "float16" else 1e-4  # of sums in another order
    np.testing.assert_allclose(np.stack(rows), answer(name, widths, arrays), rtol=tolerance, atol=tolerance)


@parametrized
@few
@given(
    widths=st.sampled_from(WIDTHS),
    value=st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -1e39]),
    in_torch=st.booleans(),
    data=st.data(),
)
def test_an_entry_that_is_no_finite_number_is_refused_by_name(
    name: str, widths: tuple[int, int], value: float, in_torch: bool, data: st.DataObject
) -> None:
    arrays: dict[str, Any] = arrays_of(name, widths, 3, "float64", 0)
    key = data.draw(st.sampled_from(sorted(arrays)))
    arrays[key][data.draw(st.integers(0, 2)), data.draw(st.integers(0, arrays[key].shape[1] - 1))] = value
    if in_torch:
        arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
    with pytest.raises(ValueError, match=rf"{key}.*finite"):
        answer(name, widths, arrays)


@parametrized
@few
@given(widths=st.sampled_from(WIDTHS), scale=st.sampled_from([5e-324, 1e-310, 1e-40, 1e-45, 0.0, -0.0]))
def test_denormal_numbers_are_as_good_as_zero(name: str, widths: tuple[int, int], scale: float) -> None:
    arrays = arrays_of(name, widths, 3, "float64", 0)
    tiny = answer(name, widths, {key: np.full_like(array, scale) for key, array in arrays.items()})
    zero = answer(name, widths, {key: np.zeros_like(array) for key, array in arrays.items()})
    np.testing.assert_allclose(tiny, zero, rtol=1e-6, atol=1e-6)


WRONG: dict[str, Any] = {
    "another width": lambda array: np.concatenate([array, array[:, :1]], axis=1),
    "an axis more": lambda array: array[None],
    "no axis": lambda array: np.float64(1.0),
    "a row more": lambda array: np.concatenate([array, array[:1]]),
    "complex numbers": lambda array: array.astype(complex),
    "words": lambda array: array.astype(str),
    "objects": lambda array: array.astype(object),
    "times": lambda array: array.astype("datetime64[s]"),
    "a list": lambda array: array.tolist(),
    "a word": lambda array: "1.0",
    "a number": lambda array: 1.0,
    "a model": lambda array: torch.nn.Linear(1, 1),
}


@parametrized
@pytest.mark.parametrize("wrong", WRONG)
def test_other_things_are_refused_by_name(name: str, wrong: str) -> None:
    widths = (2, 3)
    refused = 0
    for key, array in arrays_of(name, widths, 3, "float64", 0).items():
        arrays = arrays_of(name, widths, 3, "float64", 0) | {key: WRONG[wrong](array)}
        if wrong == "a row more" and len(arrays) == 1:
            continue  # a larger batch
        # Of rows that are too many, the other array may be the one that is named as too short.
        with pytest.raises((ValueError, TypeError), match="shape|rows" if wrong == "a row more" else key):
            answer(name, widths, arrays)
        refused += 1
    assert refused >= (0 if wrong == "a row more" else 1)

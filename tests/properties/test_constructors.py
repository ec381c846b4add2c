"""Every public class: sound arguments are taken, numpy's integers too, and all else is refused by its name."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from generative_policies.checkpoints import load, save
from tests.properties.constructors import CASES, MODELS, NOT_CONSTRUCTED, PACKAGES, REFUSED, UNLISTED

REFUSALS = [
    pytest.param(name, argument, kind, id=f"{name.removeprefix('generative_policies.')}-{argument}")
    for name, case in CASES.items()
    for argument, kind in case.kinds.items()
]


def test_every_public_class_is_in_a_table() -> None:
    public = {
        value
        for package in PACKAGES
        for value in (getattr(package, name) for name in package.__all__)
        if inspect.isclass(value)
    }
    tested = {case.cls for case in CASES.values()}
    assert not public - tested - NOT_CONSTRUCTED
    assert not tested - public and not NOT_CONSTRUCTED - public


def test_every_argument_is_in_a_table_or_has_a_reason() -> None:
    listed = {(name, argument) for name, case in CASES.items() for argument in case.kinds}
    arguments = {
        (name, argument)
        for name, case in CASES.items()
        for argument in inspect.signature(case.cls.__init__).parameters
        if argument != "self"
    }
    unlisted = {(f"generative_policies.{name}", argument) for name, argument in UNLISTED}
    assert arguments - listed == unlisted
    assert all(UNLISTED.values())


@pytest.mark.parametrize("name", CASES)
def test_sound_arguments_are_taken(name: str) -> None:
    case = CASES[name]
    assert isinstance(case.cls(**case.arguments()), case.cls)
    assert set(case.kinds) <= set(inspect.signature(case.cls.__init__).parameters)


@pytest.mark.parametrize(("name", "argument", "kind"), REFUSALS)
def test_other_arguments_are_refused_by_their_name(name: str, argument: str, kind: str) -> None:
    case = CASES[name]
    errors = (ValueError, TypeError, *((AttributeError,) if "attribute" in kind else ()))
    for value in REFUSED[kind]:
        with pytest.raises(errors) as caught:
            case.cls(**case.arguments() | {argument: value})
            pytest.fail(f"{argument}={value!r:.50} was taken")
        message = str(caught.value)
        assert argument in message, f"{argument}={value!r:.50}: {message}"


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.cls.__name__)
def test_integers_of_numpy_are_integers(case: Any, tmp_path: Path) -> None:
    def as_numpy(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(as_numpy(item) for item in value)
        return np.int64(value) if type(value) is int else value

    model = case.cls(**{name: as_numpy(value) for name, value in case.arguments().items()})
    if not hasattr(model, "config"):
        return
    assert isinstance(model, nn.Module)
    save(model, tmp_path / "model")
    assert str(load(tmp_path / "model")) == str(case.cls(**case.arguments()).eval())

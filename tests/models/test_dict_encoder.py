"""Dictionary observations: order, errors by key, images that train."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete

from generative_policies.checkpoints import load, save
from generative_policies.models import ConditionalFlowModel, DictObservationEncoder, ResidualMlp

SHAPES = {"joints": (3,), "camera": (16, 12, 3), "depth": (1, 8, 8), "grip": ()}
DTYPES = {"camera": "uint8", "depth": "float"}


def observation(batch: int | None = 5, history: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    lead = (() if batch is None else (batch,)) + ((history,) if history > 1 else ())
    return {
        "joints": rng.standard_normal((*lead, 3)),
        "camera": rng.integers(0, 256, (*lead, 16, 12, 3), dtype=np.uint8),
        "depth": rng.uniform(0, 1, (*lead, 1, 8, 8)).astype(np.float32),
        "grip": rng.standard_normal(lead),
    }


def features(encoder: DictObservationEncoder, condition: Any) -> torch.Tensor:
    answer: torch.Tensor = encoder(*encoder.rows(condition))
    return answer


def make(**arguments: Any) -> DictObservationEncoder:
    torch.manual_seed(0)
    return DictObservationEncoder(SHAPES, image_dtype=DTYPES, image_features=8, **arguments)


def test_width_and_rows_of_batched_and_single_observations() -> None:
    encoder = make()
    assert encoder.output_dim == 3 + 1 + 8 + 8
    assert features(encoder, observation()).shape == (5, 20)
    assert features(encoder, observation(None)).shape == (1, 20)


def test_the_order_of_keys_does_not_matter() -> None:
    condition = observation()
    turned = dict(reversed(list(condition.items())))
    torch.manual_seed(0)
    other = DictObservationEncoder(dict(reversed(list(SHAPES.items()))), image_dtype=DTYPES, image_features=8)
    expected = features(make(), condition)
    assert torch.equal(features(make(), turned), expected)
    assert torch.equal(features(other, condition), expected)


def test_a_dict_space_and_its_shapes_are_the_same() -> None:
    space = Dict(
        {
            "joints": Box(-1, 1, (3,)),
            "camera": Box(0, 255, (16, 12, 3), np.uint8),
            "depth": Box(0, 1, (1, 8, 8)),
            "grip": Box(-1, 1, ()),
        }
    )
    torch.manual_seed(0)
    encoder = DictObservationEncoder(space, image_features=8)
    assert torch.equal(features(encoder, observation()), features(make(), observation()))


def test_channels_first_and_last_give_the_same_picture() -> None:
    torch.manual_seed(0)
    last = DictObservationEncoder({"image": (16, 12, 3)})
    first = DictObservationEncoder({"image": (3, 16, 12)})
    first.load_state_dict(last.state_dict())
    image = observation()["camera"]
    turned = np.ascontiguousarray(np.moveaxis(image, -1, 1))
    assert torch.allclose(features(first, {"image": turned}), features(last, {"image": image}), atol=1e-6)


def test_uint8_and_float_images_of_one_picture_are_the_same() -> None:
    torch.manual_seed(0)
    integer = DictObservationEncoder({"image": (16, 12, 3)})
    floating = DictObservationEncoder({"image": (16, 12, 3)}, image_dtype="float")
    floating.load_state_dict(integer.state_dict())
    image = observation()["camera"]
    as_float = image.astype(np.float32) / 255
    assert torch.allclose(features(floating, {"image": as_float}), features(integer, {"image": image}), atol=1e-5)


def test_history_stands_side_by_side_oldest_first() -> None:
    encoder = make(history=3)
    condition = observation(history=3)
    assert encoder.output_dim == 60
    assert features(encoder, condition).shape == (5, 60)
    assert features(encoder, observation(None, history=3)).shape == (1, 60)
    single = make()
    single.load_state_dict(encoder.state_dict())
    last = {key: value[:, -1] for key, value in condition.items()}
    stacked = features(encoder, condition)
    # camera 8, depth 8, grip 1, joints 3, each three times.
    newest = torch.cat([stacked[:, 16:24], stacked[:, 40:48], stacked[:, 50:51], stacked[:, 57:60]], dim=1)
    assert torch.allclose(newest, features(single, last), atol=1e-6)


def test_vectors_are_normalised_images_are_not() -> None:
    encoder = make()
    condition = observation(200)
    condition["joints"] = 50 * condition["joints"] + 7
    before = features(encoder, condition)
    encoder.fit_normalizers(*encoder.rows(condition))
    after = features(encoder, condition)
    assert torch.allclose(after[:, 17:].std(0, correction=0), torch.ones(3), atol=1e-3)
    assert torch.equal(after[:, :16], before[:, :16])


@pytest.mark.slow  # 10 s
def test_images_train_the_model_end_to_end() -> None:
    """The target is where the bright spot of the picture is: without the image there is nothing to learn."""
    rng = np.random.default_rng(0)

    def draw(batch: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        rows = rng.integers(1, 15, batch)
        images = rng.integers(0, 40, (batch, 16, 16, 1), dtype=np.uint8)
        images[np.arange(batch), rows, 8] = 255
        target = torch.as_tensor(rows[:, None] / 4.0 - 2, dtype=torch.float32)
        return target, {"image": torch.as_tensor(images), "noise": torch.randn(batch, 2)}

    torch.manual_seed(0)
    encoder = DictObservationEncoder({"image": (16, 16, 1), "noise": (2,)})
    network = ResidualMlp(1, encoder.output_dim, (64, 64))
    model = ConditionalFlowModel(1, encoder.output_dim, network=network, encoder=encoder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    for update in range(600):
        target, condition = draw(128)
        loss = model(target, condition)
        optimizer.zero_grad()
        loss.backward()
        if update == 0:
            loss_at_start = loss.item()
            model.network.output.weight.data.normal_(std=0.01)  # type: ignore[union-attr, operator]
        if update == 1:
            trained = [parameter.grad is not None for parameter in encoder.parameters()]
            assert trained and all(trained)
            assert sum(float(p.grad.abs().sum()) for p in encoder.parameters() if p.grad is not None) > 0
        optimizer.step()
        schedule.step()
    target, condition = draw(500)
    samples = model.predict(condition=condition, num_steps=20)
    assert isinstance(samples, torch.Tensor)
    assert (samples - target).abs().mean() < 0.2  # spread of the target: 1.0
    assert loss.item() < 0.5 * loss_at_start


def test_predict_takes_dictionaries_single_and_batched() -> None:
    encoder = make()
    model = ConditionalFlowModel(2, encoder.output_dim, network=ResidualMlp(2, encoder.output_dim), encoder=encoder)
    answer = model.predict(condition=observation(), num_steps=2)
    assert isinstance(answer, np.ndarray) and answer.shape == (5, 2)
    assert answer.dtype == np.float64  # the widest of the entries, whatever their order
    assert model.predict(condition=observation(None), num_steps=2).shape == (2,)
    assert model.predict(4, observation(None), num_steps=2).shape == (4, 2)
    assert model.double().predict(condition=observation(), num_steps=2).shape == (5, 2)


def test_saved_and_loaded_with_its_model(tmp_path: Any) -> None:
    encoder = make(history=2)
    model = ConditionalFlowModel(2, encoder.output_dim, network=ResidualMlp(2, encoder.output_dim), encoder=encoder)
    condition = observation(history=2)
    model.fit_normalizers(torch.randn(5, 2), encoder.rows(condition))
    save(model, tmp_path / "m")
    noise = np.zeros((5, 2))
    expected = model.predict(condition=condition, noise=noise)
    assert np.array_equal(load(tmp_path / "m").predict(condition=condition, noise=noise), expected)


def without(key: str) -> dict[str, np.ndarray]:
    return {name: value for name, value in observation().items() if name != key}


BAD: dict[str, tuple[Any, str]] = {
    "missing": (without("joints"), r"missing: \['joints'\]"),
    "superfluous": ({**observation(), "extra": np.zeros(1)}, r"superfluous: \['extra'\]"),
    "shape": ({**observation(), "joints": np.zeros((5, 4))}, r"condition\['joints'\] must have shape"),
    "image shape": ({**observation(), "camera": np.zeros((5, 12, 16, 3), np.uint8)}, r"condition\['camera'\]"),
    "float for uint8": ({**observation(), "camera": np.zeros((5, 16, 12, 3))}, r"condition\['camera'\].*uint8"),
    "uint8 for float": ({**observation(), "depth": np.zeros((5, 1, 8, 8), np.uint8)}, r"condition\['depth'\].*floats"),
    "NaN": ({**observation(), "grip": np.full(5, np.nan)}, r"condition\['grip'\] must be finite"),
    "no array": ({**observation(), "grip": [0.0] * 5}, r"condition\['grip'\] must be a numpy array"),
    "None": ({**observation(), "camera": None}, r"condition\['camera'\] must be a numpy array"),
    "other integers": (
        {**observation(), "camera": np.zeros((5, 16, 12, 3), np.int64)},
        r"condition\['camera'\].*uint8",
    ),
    "bytes as floats": ({**observation(), "depth": np.full((5, 1, 8, 8), 255.0)}, r"condition\['depth'\].*0 to 1"),
    "negative floats": ({**observation(), "depth": np.full((5, 1, 8, 8), -0.1)}, r"condition\['depth'\].*0 to 1"),
    "a tuple in another order": (tuple(observation().values()), r"condition\['camera'\].*uint8"),
    "a short tuple": ((np.zeros((5, 3)),), "in this order, got 1"),
    "an array": (np.zeros((5, 20)), "must be a mapping with the keys"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_observations_are_refused_by_key(name: str) -> None:
    condition, message = BAD[name]
    with pytest.raises((ValueError, TypeError), match=message):
        make().rows(condition)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, "at least one entry"),
        ({"a": (2, 3)}, "'a' must have the shape of a vector"),
        ({"a": (16, 16, 7)}, "image 'a' must have 1, 3 or 4 channels"),
        ({"a": (0,)}, "'a'"),
        ({"a": 3}, "'a' must be a Box or a shape"),
        ({"a": (2.5,)}, "'a' must be a Box or a shape"),
        (Dict({"a": Dict({"b": Box(-1, 1, (2,))})}), "'a' must be a Box"),
        (Dict({"a": Discrete(3)}), "'a' must be a Box"),
        (Box(-1, 1, (3,)), "shapes must be a gymnasium.spaces.Dict"),
        (Dict({"a": Box(0, 255, (16, 16, 3), np.float32)}), "image 'a' must be uint8 or floats from 0 to 1"),
        (Dict({"a": Box(0, 255, (16, 16, 3), np.int64)}), "image 'a' must be uint8 or floats from 0 to 1"),
    ],
)
def test_bad_shapes_are_refused_by_key(shapes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DictObservationEncoder(shapes)


@pytest.mark.parametrize(
    ("image_dtype", "message"),
    [
        ({"camrea": "uint8"}, r"image_dtype names \['camrea'\], which are no entries"),
        ({"camera": "int"}, "image_dtype of 'camera' must be one of uint8, float"),
        ("bytes", "image_dtype of 'camera'"),
    ],
)
def test_bad_image_dtypes_are_refused_by_key(image_dtype: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DictObservationEncoder(SHAPES, image_dtype=image_dtype)


def test_rows_are_inputs_again_and_bytes_stay_bytes() -> None:
    encoder = make()
    rows = encoder.rows(observation())
    assert rows[0].dtype == torch.uint8 and rows[1].dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(encoder.check(rows), rows, strict=True))


@pytest.mark.parametrize("history", [1, 3])
def test_no_rows_have_no_features_of_the_same_width(history: int) -> None:
    encoder = make(history=history)
    width = encoder.output_dim
    assert features(encoder, observation(0, history)).shape == (0, width)
    model = ConditionalFlowModel(2, width, encoder=encoder, network=ResidualMlp(2, width, (8,)))
    assert model.predict(condition=observation(0, history), num_steps=2).shape == (0, 2)

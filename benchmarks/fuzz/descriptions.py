"""Models that hypothesis describes, sound or not, with weights that fit where a model can be built at all."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from safetensors.torch import save_file

from benchmarks.fuzz.file_mutations import Rng
from benchmarks.fuzz.predictions import answer
from benchmarks.fuzz.subjects import Subject, names_file
from generative_policies.checkpoints import ALLOWED_CLASSES, CheckpointError, build, load, save
from generative_policies.models import Normalizer
from generative_policies.weights import building

DESCRIBED = "described model"
EXAMPLES_PER_SEED = 250
MAX_WEIGHTS = 1_000_000  # that are written for a description
NAMES = {name.rpartition(".")[2]: name for name in ALLOWED_CLASSES}
CLASSES = {name: getattr(import_module(path.rpartition(".")[0]), name) for name, path in NAMES.items()}
INPUTS = {"actions", "batch_size", "condition", "next_obs", "noise", "obs", "source", "source_actions"}
ARGUMENTS = {name for cls in CLASSES.values() for name in signature(cls.__init__).parameters if name != "self"}
NAMED = re.compile(r"\b(" + "|".join(sorted(ARGUMENTS | INPUTS)) + r")\b")


@dataclass(frozen=True)
class Description:
    """What a checkpoint's JSON says of its model.

    Attributes:
        way: How it was made: ``"sound"``, ``"changed"`` at an argument, or ``"anything"``.
        model: The JSON.
    """

    way: str
    model: Any


def part(cls: str, **arguments: Any) -> Any:
    """Return the JSON of a part of a model."""
    return {"class": NAMES[cls], "arguments": arguments}


SIZES = st.integers(1, 5)
WIDTHS = st.lists(st.sampled_from((4, 8)), min_size=1, max_size=2)
SCALES = st.floats(0, 2)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 40), st.just(10**12), st.floats(), st.text(max_size=5), st.just([8, 8])
)
ANYTHING: SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.builds(lambda x: {"mapping": x}, st.dictionaries(st.text(max_size=3), inner, max_size=3)),
        st.builds(
            lambda cls, arguments: {"class": cls, "arguments": arguments},
            st.sampled_from(ALLOWED_CLASSES),
            st.dictionaries(st.sampled_from(sorted(ARGUMENTS)), inner, max_size=5),
        ),
    ),
    max_leaves=12,
)


@st.composite
def encoders(draw: DrawFn) -> Any:
    """Draw an encoder."""
    way = draw(st.sampled_from(("one", "two", "with a vector", "dictionary")))
    if way == "one":
        return part("IdentityEncoder", dim=draw(SIZES))
    if way == "two":
        return part("IdentityTwoInputEncoder", dim_1=draw(SIZES), dim_2=draw(SIZES))
    shapes = {"mapping": {"a": [draw(SIZES)], "b": [8, 8, 3]}}
    entries = part("DictObservationEncoder", shapes=shapes, image_features=draw(SIZES), history=draw(st.integers(1, 2)))
    return entries if way == "dictionary" else part("ObservationAndVectorEncoder", observation_encoder=entries, dim=2)


@st.composite
def networks(draw: DrawFn, target: int, cond: int, horizon: int) -> Any:
    """Draw a velocity network of the given sizes."""
    way = draw(st.sampled_from(("ResidualMlp", "ConditionalUNet1D", "DiffusionTransformer")))
    if way == "ResidualMlp":
        return part(way, target_dim=target, cond_dim=cond, net_arch=draw(WIDTHS), horizon=horizon)
    if way == "ConditionalUNet1D" or horizon == 1:
        sizes = {"in_channels": target, "out_channels": target, "cond_dim": cond}
        return part("ConditionalUNet1D", **sizes, down_dims=draw(WIDTHS), horizon=horizon)
    sizes = {"target_dim": target, "cond_dim": cond, "horizon": horizon}
    return part(way, **sizes, embed_dim=8, num_heads=draw(st.sampled_from((1, 2, 4))), num_layers=draw(SIZES))


@st.composite
def priors(draw: DrawFn, dim: int) -> Any:
    """Draw a prior of the given width."""
    way = draw(st.sampled_from(("GaussianPrior", "SourcePrior", "LiftedSourcePrior")))
    scale = {} if way == "GaussianPrior" else {"noise_scale": draw(SCALES)}
    return part(way, dim=dim, **scale, **({"source_dim": draw(SIZES)} if way == "LiftedSourcePrior" else {}))


@st.composite
def flows(draw: DrawFn) -> Any:
    """Draw a generative model, of parts or of its own."""
    cls = draw(st.sampled_from(("ConditionalFlowModel", "LatentBridgeModel", "DistilledFlowModel")))
    cls = draw(st.sampled_from((cls, "AverageVelocityModel")))
    target, cond, horizon = draw(SIZES), draw(st.integers(0, 4)), draw(st.integers(1, 4))
    arguments: dict[str, Any] = {"target_dim": target, "horizon": horizon}
    if draw(st.booleans()):
        arguments["encoder"] = draw(encoders())
        cond = built(arguments["encoder"]).output_dim
    arguments["cond_dim"] = cond
    if cls == "LatentBridgeModel":
        start = st.sampled_from((part("GaussianPrior", dim=target), part("SourcePrior", dim=target, noise_scale=0.0)))
        arguments |= {"prior": draw(start), "bridge_sigma": draw(st.floats(0.1, 2))}
        # Its network sees a given source beside the condition.
        cond += 0 if arguments["prior"]["class"] == NAMES["GaussianPrior"] else horizon * target
    elif draw(st.booleans()):
        arguments["prior"] = draw(priors(target))
    if cls in ("ConditionalFlowModel", "LatentBridgeModel") and draw(st.booleans()):
        arguments["network"] = draw(networks(target, cond, horizon))
    elif cls != "DistilledFlowModel":
        arguments["down_dims"] = draw(WIDTHS)
    return part(cls, **arguments)


@st.composite
def around_flows(draw: DrawFn) -> Any:
    """Draw a translator, a dynamics, a planner or a regressor."""
    obs, net_arch = draw(SIZES), draw(WIDTHS)
    sizes: dict[str, Any] = {"obs_dim": obs, "net_arch": net_arch}
    next_obs = draw(st.integers(1, obs))
    cls = draw(
        st.sampled_from([name for name in NAMES if name.endswith(("Translator", "InverseDynamics"))])
        | st.sampled_from(("MlpForwardDynamics", "MlpRegressor", "FlowPlanner"))
    )
    steps = {"num_steps": draw(SIZES)} if cls.startswith("Flow") else {}
    if cls == "ComposedActionTranslator":
        inverse = part("MlpInverseDynamics", action_dim=draw(SIZES), next_obs_dim=next_obs, **sizes)
        forward = part("MlpForwardDynamics", action_dim=draw(SIZES), **sizes)
        return part(cls, inverse_dynamics=inverse, forward_dynamics=forward)
    if cls.endswith("Translator"):
        return part(cls, action_dim=draw(SIZES), source_action_dim=draw(SIZES), **sizes, **steps)
    if cls.endswith("InverseDynamics"):
        return part(cls, action_dim=draw(SIZES), next_obs_dim=next_obs, **sizes, **steps)
    if cls == "MlpForwardDynamics":
        return part(cls, action_dim=draw(SIZES), members=draw(SIZES), **sizes)
    if cls == "FlowPlanner":
        return part(cls, next_obs_dim=next_obs, horizon=draw(SIZES), **sizes, **steps)
    encoder = draw(encoders())
    width = built(encoder).output_dim
    sizes = {"target_dim": draw(SIZES), "cond_dim": width, "net_arch": net_arch}
    return part(cls, **sizes, horizon=draw(SIZES), encoder=encoder)


@st.composite
def descriptions(draw: DrawFn) -> Description:
    """Draw a description: half of them sound but for an argument or two, a quarter sound, a quarter anything."""
    way = draw(st.sampled_from(("sound", "changed", "changed", "anything")))
    if way == "anything":
        return Description(way, draw(ANYTHING))
    model = draw(flows() | around_flows())
    for _ in range(0 if way == "sound" else draw(st.integers(1, 2))):
        parts = [model]
        for found in parts:  # grows on the way
            parts += [value for value in found["arguments"].values() if isinstance(value, dict) and "class" in value]
        arguments = draw(st.sampled_from(parts))["arguments"]
        own = st.sampled_from(sorted(arguments))
        name = draw(st.one_of(own, own, own, st.sampled_from(sorted(ARGUMENTS))))
        arguments[name] = draw(st.one_of(SIZES, SIZES, SCALES, WIDTHS, SCALARS, ANYTHING))
    return Description(way, model)


def for_each_description(count: int, number: int, run: Callable[[int, Description], None], first: int = 0) -> None:
    """Draw descriptions, ``EXAMPLES_PER_SEED`` of a seed, and call a function with each one and its place.

    Args:
        count: How many.
        number: What the seeds depend on.
        run: The function, which has to raise nothing.
        first: Those before this place are passed over.
    """
    for start in range(first // EXAMPLES_PER_SEED * EXAMPLES_PER_SEED, count, EXAMPLES_PER_SEED):
        case = start

        def take(description: Description) -> None:
            nonlocal case
            if first <= case < count:
                run(case, description)
            case += 1

        drawn = given(descriptions())(take)
        drawn = settings(
            max_examples=EXAMPLES_PER_SEED,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(drawn)
        seed(number * 1_000_003 + start)(drawn)()


def built(model: Any) -> Any:
    """Return what JSON describes, without memory for its weights."""
    with torch.device("meta"), building(1_000):
        return build(model, {})


@dataclass(frozen=True)
class DescribedSubject(Subject):
    """A checkpoint of a description.

    Attributes:
        description: The description.
    """

    description: Description = Description("sound", None)

    def mutate(self, folder: Path, mark: Path, rng: Rng) -> str:
        """Write the description in the place of what is there; return how it was made, and which weights it has."""
        model, tensors = self.description.model, {"nothing of the kind": torch.zeros(3)}
        (folder / "model" / "config.json").write_text(json.dumps({"format_version": 1, "model": model}))
        weights = "foreign"
        if self.description.way == "sound" or rng.random() < 0.9:
            state = fitting_weights(model, torch.Generator().manual_seed(int(rng.integers(2**31))))
            weights, tensors = ("that fit", state) if state else ("foreign", tensors)
        save_file(tensors, folder / "model" / "model.safetensors")
        return f"{self.description.way}, weights {weights}"


def fitting_weights(model: Any, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Return random weights for what JSON describes, none where nothing can be built of it, or too much."""
    try:
        shapes = {name: tensor.shape for name, tensor in built(model).state_dict().items()}
    except Exception:  # whatever a constructor raises, which is the library's to tell
        return {}
    if sum(shape.numel() for shape in shapes.values()) > MAX_WEIGHTS:
        return {}
    # Positive, as the spreads are that normalisers divide by.
    return {name: 0.1 + 0.3 * torch.rand(shape, generator=generator) for name, shape in shapes.items()}


def use_described(folder: Path) -> Any:
    """Load a model, ask it for an answer, and check that it is finite."""
    found = answer(load(folder / "model"))
    if found is None:
        return None
    values, shape = found
    if not np.isfinite(values).all():
        raise ArithmeticError(f"the answer is not finite: {values}")
    return values.shape, shape


def names_argument(folder: Path, error: Exception) -> bool:
    """Return whether a checkpoint's error names its folder, and one of an answer an argument."""
    if isinstance(error, CheckpointError):
        return names_file(folder, error)
    return NAMED.search(str(error)) is not None


def make_described(folder: Path) -> None:
    """Write a checkpoint whose files descriptions take the place of."""
    save(Normalizer(1), folder / "0" / "model")


def described(description: Description) -> DescribedSubject:
    """Return the subject of a description; a sound one must not be refused."""
    errors = () if description.way == "sound" else (CheckpointError, ValueError, TypeError)
    return DescribedSubject(make_described, use_described, errors, {}, names_argument, description=description)

"""The command ``generative-policies``."""

import os
import sys
from typing import Annotated

import tyro

if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported

from generative_policies.rollouts.demo import DemoSettings, demo
from generative_policies.rollouts.train_source import TrainSourceSettings, train_source

Command = (
    Annotated[DemoSettings, tyro.conf.subcommand("demo")]
    | Annotated[TrainSourceSettings, tyro.conf.subcommand("train-source")]
)


def main() -> None:
    """Run the command line."""
    settings = tyro.cli(Command, prog="generative-policies")
    match settings:
        case DemoSettings():
            demo(settings)
        case TrainSourceSettings():
            train_source(settings)


if __name__ == "__main__":
    main()

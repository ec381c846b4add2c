"""The command ``generative-policies``."""

import sys
from typing import Annotated

import tyro

from generative_policies.rollouts.demo import DemoSettings, demo
from generative_policies.rollouts.train_source import TrainSourceSettings, train_source

Command = (
    Annotated[DemoSettings, tyro.conf.subcommand("demo")]
    | Annotated[TrainSourceSettings, tyro.conf.subcommand("train-source")]
)


def main() -> None:
    """Run the command line; a bad setting or an unusable folder is one line, not a traceback."""
    try:
        settings = tyro.cli(Command, prog="generative-policies")
    except ValueError as error:  # a settings class refuses a value
        sys.exit(f"generative-policies: {error}")
    try:
        match settings:
            case DemoSettings():
                demo(settings)
            case TrainSourceSettings():
                train_source(settings)
    except OSError as error:
        sys.exit(f"generative-policies: {error}")
    except KeyboardInterrupt:
        sys.exit("generative-policies: interrupted")


if __name__ == "__main__":
    main()

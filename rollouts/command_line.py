"""The command ``generative-policies``."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from generative_policies import doctor
from generative_policies.rollouts.commands.collect import CollectSettings, collect
from generative_policies.rollouts.commands.compare import CompareSettings, compare
from generative_policies.rollouts.commands.demo import DemoSettings, demo
from generative_policies.rollouts.commands.evaluate import EvaluateSettings, evaluate
from generative_policies.rollouts.commands.export import ExportSettings, export
from generative_policies.rollouts.commands.pair import PairSettings, pair
from generative_policies.rollouts.commands.train import TrainSettings, train
from generative_policies.rollouts.commands.train_source import TrainSourceSettings, train_source

Command = (
    Annotated[CollectSettings, tyro.conf.subcommand("collect")]
    | Annotated[PairSettings, tyro.conf.subcommand("pair")]
    | Annotated[TrainSettings, tyro.conf.subcommand("train")]
    | Annotated[EvaluateSettings, tyro.conf.subcommand("evaluate")]
    | Annotated[CompareSettings, tyro.conf.subcommand("compare")]
    | Annotated[ExportSettings, tyro.conf.subcommand("export")]
    | Annotated[TrainSourceSettings, tyro.conf.subcommand("train-source")]
    | Annotated[DemoSettings, tyro.conf.subcommand("demo")]
    | Annotated[doctor.DoctorSettings, tyro.conf.subcommand("doctor")]
)


def main() -> None:
    """Run the command line; what is wrong with settings, data or folders is one line, not a traceback."""
    # As with python -m: module:id imports a module of the user's own folder.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an end that is asked for is an orderly one
    try:
        settings = tyro.cli(Command, prog="generative-policies")
    except ValueError as error:  # a settings class refuses a value
        sys.exit(f"generative-policies: {error}")
    try:
        run(settings)
    except (OSError, ValueError, TypeError, ImportError) as error:
        sys.exit(f"generative-policies: {error}")
    except KeyboardInterrupt:
        sys.exit("generative-policies: interrupted; the same command starts where whole pieces of work are done")


def run(settings: Any) -> None:
    """Run the command of some settings."""
    match settings:
        case CollectSettings():
            collect(settings)
        case PairSettings():
            pair(settings)
        case TrainSettings():
            train(settings)
        case ExportSettings():
            export(settings)
        case EvaluateSettings():
            evaluate(settings)
        case CompareSettings():
            reports = compare(settings)
            if len(reports) < len(settings.shifts) or any(report["failed"] for report in reports.values()):
                sys.exit("generative-policies: some units failed, see above")
        case DemoSettings():
            demo(settings)
        case doctor.DoctorSettings():
            doctor.main()
        case TrainSourceSettings():
            train_source(settings)


if __name__ == "__main__":
    main()

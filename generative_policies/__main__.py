"""The command ``generative-policies``, also as ``python -m generative_policies``."""

import sys

from generative_policies import doctor


def main() -> None:
    """Run the command line; ``doctor`` before anything is imported that may be missing."""
    if sys.argv[1:2] == ["doctor"]:
        doctor.main(sys.argv[2:])
        return
    try:
        from generative_policies.rollouts import command_line
    except ImportError as error:
        sys.exit(f"generative-policies: {error}; generative-policies doctor tells what is missing")
    command_line.main()


if __name__ == "__main__":
    main()

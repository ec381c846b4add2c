"""``python -m generative_policies.rollouts``, the same as the command ``generative-policies``."""

from generative_policies.rollouts.command_line import main

if __name__ == "__main__":
    main()

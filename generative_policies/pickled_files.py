"""Files that can run any code when they are loaded: the first one of a process is warned of."""

import io
import warnings
from pathlib import Path


class PickledFileWarning(UserWarning):
    """A file is about to be loaded that can run any code."""


def warn_of_pickles(file: str | Path | io.BufferedIOBase) -> None:
    """Warn, once a process, that a file can run any code when it is loaded. The package itself ships none that can.

    Args:
        file: What the caller's caller is about to load.
    """
    global _has_warned
    if _has_warned:
        return
    _has_warned = True
    warnings.warn(
        f"{file} is pickled, as is whatever Stable-Baselines3 saves, VecNormalize statistics included: loading it runs "
        "whatever its author put in. Load such files from people you trust alone; "
        "generative_policies.policies.save_policy writes folders that are safe to pass on",
        PickledFileWarning,
        stacklevel=3,
    )


_has_warned = False

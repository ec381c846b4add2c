"""Shared by all tests."""

import numpy as np
import pytest
import torch

# Small networks: a second thread costs more than it brings. Set before any model is called.
torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)

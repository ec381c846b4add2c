"""Sample metrics against closed forms."""

import numpy as np
import pytest

from generative_policies.models import (
    energy_distance,
    mode_masses,
    modes_covered,
    real_versus_real,
    sliced_wasserstein,
)


def test_energy_distance_of_point_masses_is_twice_their_distance() -> None:
    assert energy_distance(np.zeros((4, 2)), np.tile([3.0, 4.0], (5, 1))) == pytest.approx(10.0)


def test_energy_distance_of_shifted_normals(rng: np.random.Generator) -> None:
    # For N(0, 1) and N(m, 1): 2 E|N(m, 2)| - 2 E|N(0, 2)|; E|N(m, 2)| by the folded normal's mean.
    m, s = 1.0, np.sqrt(2)
    from scipy.stats import norm

    folded = s * np.sqrt(2 / np.pi) * np.exp(-(m**2) / (2 * s**2)) + m * (1 - 2 * norm.cdf(-m / s))
    expected = 2 * folded - 2 * s * np.sqrt(2 / np.pi)
    estimate = energy_distance(rng.standard_normal((4000, 1)), rng.standard_normal((4000, 1)) + m)
    assert estimate == pytest.approx(expected, abs=0.05)


def test_sliced_wasserstein_of_a_shift(rng: np.random.Generator) -> None:
    x = rng.standard_normal((500, 2))
    # A shift by m moves each projection by m.u; the mean square over directions of the plane is |m|^2 / 2.
    assert sliced_wasserstein(x, x + np.array([3.0, 4.0]), num_projections=2000) == pytest.approx(
        5 / np.sqrt(2), rel=0.05
    )
    assert sliced_wasserstein(x[:, :1], x[:, :1] + 2.0) == pytest.approx(2.0)


def test_mode_masses_count_only_samples_near_a_mode() -> None:
    samples = np.array([[0.0], [0.1], [5.0], [2.5]])
    masses = mode_masses(samples, [[0.0], [5.0]], radius=0.5)
    assert masses.tolist() == [0.5, 0.25]
    assert modes_covered(masses, [0.5, 0.5]) == 2
    assert modes_covered([0.2, 0.8], [0.5, 0.5]) == 1


def test_a_perfect_sampler_exceeds_the_99_percent_quantile_about_once_in_a_hundred(rng: np.random.Generator) -> None:
    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((n, 1))

    chance = real_versus_real(energy_distance, draw, 100, rng, num_draws=400)
    exceeded = sum(energy_distance(draw(100, rng), draw(100, rng)) > chance.quantile_99 for _ in range(400))
    assert exceeded <= 14  # mean 4; a false alarm once in 10,000 runs for an exact quantile
    assert chance.median < chance.quantile_99


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(3, 1\)"):
        energy_distance(np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="3 and 4"):
        sliced_wasserstein(np.zeros((3, 2)), np.zeros((4, 2)))

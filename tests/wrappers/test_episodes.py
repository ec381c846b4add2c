import numpy as np

from generative_policies.wrappers.episodes import EpisodeRows


def test_each_row_counts_the_steps_of_its_own_episode() -> None:
    rng = np.random.default_rng(0)
    episodes, expected = EpisodeRows(4, noise_dim=0), [0, 0, 0, 0]
    episodes.begin(np.ones(4, dtype=bool), [None] * 4)
    resets = partial_steps = 0
    for k in range(200):
        resetting = rng.random(4) < 0.1
        if k % 2:  # the rows that begin take no step, as in NEXT_STEP mode
            active = ~resetting
            episodes.step(active)
            partial_steps += not active.all()
        else:
            active = np.ones(4, dtype=bool)
            episodes.step(None)
        episodes.begin(resetting, [None] * 4)
        for row in range(4):
            expected[row] = 0 if resetting[row] else expected[row] + int(active[row])
            resets += int(resetting[row])
        assert episodes.steps.tolist() == expected
        assert episodes.starts.tolist() == [count == 0 for count in expected]
    assert resets > 40 and partial_steps > 20

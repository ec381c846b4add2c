import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.steering import ARMS, LEAST_LIFT, Settings, format_table, main, summarize

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"


@pytest.mark.slow  # 20 s
def test_the_quick_form_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = Settings(
        seeds=(1,),
        env_steps=64,
        evaluations=2,
        curve_episodes=1,
        episodes=1,
        demonstrations=2,
        target_episodes=3,
        updates=3,
        output=tmp_path,
    )
    main(quick)
    content = json.loads((tmp_path / "steering.json").read_text())
    assert list(content["arms"]) == list(ARMS)
    for unit in content["units"]:
        assert [steps for steps, _ in unit["curve"]] == [32, 64]  # of the env, in chunks or not
    latent = content["arms"]["latent"]
    gap = content["references"]["expert at home"] - latent["policy alone"][0]
    assert latent["lift"][0] == pytest.approx((latent["return"][0] - latent["policy alone"][0]) / gap)
    assert (tmp_path / "steering.md").read_text() in capsys.readouterr().out
    assert (tmp_path / "steering.png").stat().st_size > 10_000


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="expected an arm"):
        Settings(episodes=0)
    with pytest.raises(ValueError, match="evaluations"):
        Settings(env_steps=10)


def test_committed_results_keep_what_is_claimed() -> None:
    content = json.loads((RESULTS / "steering.json").read_text())
    assert content["command"].startswith("python -m benchmarks.steering --output benchmarks/results")
    settings = content["settings"]
    assert settings["env_steps"] == 50_000 and settings["episodes"] == 100 and settings["seeds"] == [0, 1, 2]
    arms = summarize(content["units"], content["references"])
    assert set(arms) == set(ARMS) and all(len(figures["return"]) == 3 for figures in arms.values())
    assert max(np.mean(arms[arm]["lift"]) for arm in ("latent", "latent in chunks")) >= LEAST_LIFT
    assert format_table(arms, content["references"]) in (RESULTS / "steering.md").read_text()

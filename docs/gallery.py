"""Write the gallery of experiments from what ``make experiments`` measured: ``python docs/gallery.py``."""

import argparse
import json
import shutil
from pathlib import Path

from generative_policies.action_translation import experiment as action_translation_experiment
from generative_policies.atomic_files import write_file
from generative_policies.models import experiment
from generative_policies.models.experiments.experiment import format_table

HEAD = """# Gallery of experiments

Written by `python docs/gallery.py` from what `make experiments` measured: all experiments over the seeds 0, 1 and
2, a quarter of an hour on one core, failing where a stated bound is not kept. Plots and tables are of seed 0;
`seed-*/` holds the figures of all three as JSON, each with its command and its bounds. Distances stand beside
those of two fresh draws of the data: a perfect sampler is no better. Add `--help` to a command for its options.
"""
TEXTS = {
    "bimodal": """\
Two Gaussians of masses 0.3 and 0.7. One Euler step gives the mean of the data, which is neither mode.""",
    "conditional": """\
Mean and spread depend on the condition; the marginal alone would not tell a model that ignores it.""",
    "spiral": "One and a half turns with narrow noise.",
    "grid": "Sixteen narrow modes: all found with 100 steps, none with one.",
    "source-comparison": """\
The same eight modes on a ring from five sources. A source near the target has short, straight paths and needs one
step, also where it has another width and is carried over by the fixed affine map. Optimal transport straightens the
paths of a Gaussian. All paths from the mirrored source meet in the middle: with few steps samples stay there, and
with many they find *a* mode, mostly the one they came from and not the paired one, which the energy distance of a
symmetric ring does not show. Distances below 0.0001 are drawn at 0.0001.""",
    "prior-steering": """\
The flow is frozen; the mean and the spread of its starting noise alone are moved by the gradient of a reward, through
the sampler.""",
    "bridge": """\
The SDE and the ODE of one network, and the SDE from one given source. With few steps spreads are off: Heun's modes at
10 steps are visibly too narrow, which the overall variance, that of the distance between the modes, does not show;
from a given source the SDE's spread is a quarter too large with 5 steps, and right from some 50 on.""",
    "translators": """\
Columns: the true target actions, then the four translators, with many steps; rows: permuted motors with a load,
mirrored motors, and two target actions for one source action. A prior alone keeps the distribution, not the pairs; a
regression answers with the mean of two ways; both conditioned flows keep pairs and ways. One step from a noisy prior
carries more of the learning error than two or four; more than four bring nothing where the map is deterministic.""",
}


def main() -> None:
    """Copy the results and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).parent
    parser.add_argument("--results", type=Path, default=here.parent / "runs" / "experiments", help="folder of results")
    parser.add_argument("--output", type=Path, default=here / "experiments", help="folder of the gallery")
    options = parser.parse_args()
    page = [HEAD]
    for name in (*experiment.EXPERIMENTS, *action_translation_experiment.EXPERIMENTS):
        for seed in (0, 1, 2):
            target = options.output / f"seed-{seed}"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(options.results / f"seed-{seed}" / f"{name}.json", target)
        pictures = sorted((options.results / "seed-0").glob(f"{name}.*"))
        images = [shutil.copy(picture, options.output) for picture in pictures if picture.suffix in (".png", ".gif")]
        report = json.loads((options.output / "seed-0" / f"{name}.json").read_text())
        page += [f"\n## {name}\n", TEXTS[name], f"\n`{report['command']}`, {report['seconds']:.0f} s\n"]
        page += [f"![{name}]({Path(image).name})\n" for image in reversed(images)]
        page += [format_table(report["table"])]
    write_file(options.output / "README.md", "\n".join(page) + "\n")


if __name__ == "__main__":
    main()

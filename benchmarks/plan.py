"""Whether studies simulated anew are where a plan says (``python -m benchmarks.plan``).

Of each cell some studies are simulated, as `catpref.plan` does it, and then others with another seed: of these it is
counted how many have their accuracy in the plan's interval (95% are to), how many reach the gain that a study is said
to have at least (95%), and how often they come out above chance (the plan's power).
"""

import json
import os
from collections.abc import Sequence

from catpref._io.cache import default_folder
from catpref._io.engines import Processes
from catpref.command_line import Parser, positive, run
from catpref.design.trial_list import FULL, RANDOM
from catpref.plans import grid
from catpref.plans.observers import usual_habits
from catpref.plans.studies import Cell, Setting, Study
from catpref.plans.summary import Expected, expect
from catpref.plans.world import drawn_cats

_CELLS = (
    Cell(RANDOM, 100, 200, 1, 1.0),
    Cell(FULL, 91, 14, 1, 1.0),
    Cell(RANDOM, 50, 100, 5, 1.0),
)
_CONFIDENCE = 0.95
_SEED_ANEW = 1_000_003


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark."""
    parser = Parser(
        "python -m benchmarks.plan",
        "Simulate studies anew, and count how many are where a plan says.",
        "python -m benchmarks.plan --studies 12 --anew 100 --json",
    )
    parser.add_argument("--studies", type=positive, default=12, metavar="N", help="of the plan (default: 12)")
    parser.add_argument("--anew", type=positive, default=100, metavar="N", help="others (default: 100)")
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    world = drawn_cats()
    planned, anew = (
        grid.run(
            _CELLS,
            Setting(world, usual_habits(world.blocks), seed),
            studies,
            Processes(os.cpu_count() or 1),
            default_folder(),
        )
        for seed, studies in ((0, options.studies), (_SEED_ANEW, options.anew))
    )
    rows = [_compared(expect(cell, planned[cell], _CONFIDENCE), anew[cell]) for cell in _CELLS]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(
            f"{row['cell']}: {row['inside']} of {row['anew']} accuracies in {row['accuracy_low']:.3f} to "
            f"{row['accuracy_high']:.3f}, {row['reached']} reach the gain, {row['above']} above chance "
            f"(power {row['power']:.2f}, {row['power_low']:.2f} to {row['power_high']:.2f})"
        )


def _compared(plan: Expected, anew: Sequence[Study]) -> dict[str, object]:
    low, high = plan.accuracy_ci95
    least = 0.5 + plan.gain_low * (plan.best - 0.5)
    return {
        "cell": " ".join(map(str, plan.cell)),
        "studies": plan.studies,
        "anew": len(anew),
        "accuracy_low": low,
        "accuracy_high": high,
        "inside": sum(low <= study.accuracy <= high for study in anew),
        "reached": sum(study.new >= least for study in anew),
        "above": sum(study.above == 1 for study in anew),
        "power": plan.power,
        "power_low": plan.power_ci95[0],
        "power_high": plan.power_ci95[1],
    }


if __name__ == "__main__":
    run(main)

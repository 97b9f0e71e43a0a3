"""Draw the learning curves of Figures 4 and 5 from run records.

Without flags it draws every Coin Game run below the default run folder, as `jax_files/POLA_dice_jax.py` leaves them.
"""

import math
import sys
from pathlib import Path

from common import plotting
from common.cli import StrictParser, UserError, run_main
from common.runs import RunFolder
from pola.dice import curves

PROGRAM = "jax_files/POLA_dice_jax.py"
RESULTS = Path(__file__).resolve().parents[2] / "results" / "pola"


def find_runs(roots, env):
    """Every run of the sampled program in this game that has been evaluated at least once, unfinished ones too."""
    folders = {path.parent.name: path.parent for root in roots for path in Path(root).rglob("run.json")}
    runs = [RunFolder.read(folder) for _, folder in sorted(folders.items())]
    ours = [run for run in runs if run.record.get("program") == PROGRAM and run.config["env"] == env]
    return [run for run in ours if any("score" in row for row in run.metrics())]


def check_one_setting(runs):
    """Curves are means over seeds: refuse to average runs of one algorithm that differ in more than the seed."""
    first = {}
    for run in runs:
        name = curves.algorithm(run.config)
        setting = {key: value for key, value in run.config.items() if key != "seed"}
        known = first.setdefault(name, setting)
        differing = [key for key in setting if setting[key] != known.get(key)]
        if differing:
            raise UserError(
                f"the {name} runs differ in {', '.join(differing)}; choose a folder with one setting by --run_root"
            )


def body(argv):
    parser = StrictParser(prog="result_plots.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--env", choices=["ipd", "coin"], default="coin", help="which figure: 4 (ipd) or 5 (coin)"
    )
    parser.add_argument(
        "--run_root",
        nargs="+",
        type=Path,
        default=[RESULTS / "runs"],
        help="folders that hold runs, at any depth",
    )
    parser.add_argument(
        "--every_panel", action="store_true", help="also against always-cooperate and tit-for-tat"
    )
    parser.add_argument("--last_step", type=float, default=math.inf, help="leave out later outer steps")
    parser.add_argument(
        "--save_dir", type=Path, default=Path("."), help="where fig.png, fig.svg and fig.csv go"
    )
    options = parser.parse_args(argv)
    runs = find_runs(options.run_root, options.env)
    if not runs:
        places = ", ".join(map(str, options.run_root))
        raise UserError(
            f"no {options.env} run with an evaluation below {places}; --run_root names another folder"
        )
    check_one_setting(runs)
    rows = curves.tabulate(runs, options.last_step)
    picture = curves.draw(rows, options.env, every=options.every_panel)
    plotting.write_csv(rows, options.save_dir / "fig.csv")
    plotting.save(picture, options.save_dir, "fig")
    print(f"{len(runs)} runs drawn to {options.save_dir / 'fig.png'}")
    return 0


def main(argv=None):
    return run_main(body, argv, program="result_plots.py")


if __name__ == "__main__":
    sys.exit(main())

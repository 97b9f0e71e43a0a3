"""Both engines on the same small experiment: the same metric names, the same learning (acceptance 20)."""

import json
from pathlib import Path

import numpy as np
import pytest

from stackerlberg import exact
from stackerlberg.batched import followers, translate
from stackerlberg.experiments import catalogue
from stackerlberg.games import FOLLOWER
from stackerlberg.rllib import rows as rllib_rows
from stackerlberg.rllib.setting import Setting, protocol_of

NAME = "smipd_nothiddenqueries_pg_pg"
RETURN = "leader_results/policy_reward_mean/agent_0"
#: from the follower in the file, which is all but frozen, the leader learns four times as fast as in the paper
SETTINGS = {
    "pre_training_iterations": 1,
    "post_training_iterations": 1,
    "outer_iterations": 60,
    "leader_config.lr": 0.03,
    "follower_config.lr": 1e-9,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The exact contextual follower in a file for every seed, as the configuration names it."""
    condition = catalogue.resolve(NAME).conditions[0]
    spec, protocol = translate.spec_of(condition.configuration), protocol_of(condition.configuration)
    assert protocol == spec.protocol
    table = exact.exact_followers(translate.game_of(condition.configuration), protocol)  # [contexts, own]
    codes = table.T.ravel()
    logits = np.stack([codes == 0, codes == 1]).astype(np.float32)
    folder = tmp_path_factory.mktemp("followers")
    for seed in range(20):
        followers.save(folder / f"follower_{seed}.npz", spec, condition, {"layer0": logits})
    return str(folder / "follower_{seed}")


def test_the_engines_agree(run, ray_here, saved, words_of):
    def rows(engine, seeds, *flags):
        settings = SETTINGS | {"pretrain_load_checkpoint": saved}
        words = [f"--experiment={NAME}", "--log_every", "20", "--engine", engine, "--seeds", seeds]
        return run(*words, *words_of(settings), *flags)[1]

    batched, rllib = rows("batched", "0-19"), rows("rllib", "0-1", "--ray_local_mode")
    for found, wanted in zip(rllib[0], batched[0], strict=True):
        assert set(found) == set(wanted)
        for key in wanted:
            exact_one = key.endswith("timesteps_total") or key.startswith(
                ("follower_best", "exact/stackelberg")
            )
            assert not exact_one or found[key] == pytest.approx(wanted[key]), key

    def curves(engine):  # [seeds, rows]
        return np.array([[row[RETURN] for row in own if row["phase"] == 1] for own in engine.values()])

    many, few = curves(batched), curves(rllib)
    mean, spread = many.mean(0), many.std(0, ddof=1)
    assert (np.abs(few.mean(0) - mean) < 3 * spread / np.sqrt(2) + 0.1).all(), (few, mean, spread)
    assert (few[:, -1] > few[:, 0] + 1).all()  # it does learn


@pytest.mark.slow
def test_the_published_curve(run, ray_here, saved, words_of):
    """Acceptance item 20: 300 updates of one seed, at the paper's learning rate, in the band of a re-simulation.

    The follower is the exact one from the file, which pre-training finds in all of the re-simulation's seeds.
    """
    settings = SETTINGS | {
        "pretrain_load_checkpoint": saved,
        "leader_config.lr": 0.008,
        "outer_iterations": 300,
        "post_training_iterations": 0,
    }
    words = [
        f"--experiment={NAME}",
        "--log_every",
        "25",
        "--engine",
        "rllib",
        "--ray_local_mode",
        "--seed",
        "0",
    ]
    _, found = run(*words, *words_of(settings))
    ours = {row["iteration"]: row[RETURN] for row in found[0] if row["phase"] == 1}
    golden = Path(__file__).parents[1] / "golden" / "curves_resim_pg.json"
    band = json.loads(golden.read_text())["modpd_observed_lr0.008"]
    places = [band["curve_iter"].index(iteration) for iteration in (100, 200, 300)]
    for place in places:
        iteration, mean, spread = (band[key][place] for key in ("curve_iter", "curve_mean", "curve_sd"))
        assert abs(ours[iteration] - mean) < 3 * spread, (iteration, ours[iteration], mean, spread)


MEAN = (
    ("common_config.env_config.samples_summarize", "mean"),
    ("common_config.env_config.n_samples", 2),
    ("common_config.env_config.discrete_obs", False),
)


def test_answers_by_their_mean_are_the_same_inputs_and_numbers():
    """What the engines' followers see of every code, and the exact numbers of a follower of theirs."""
    configuration = catalogue.resolve(NAME, MEAN).conditions[0].configuration
    spec, setting = translate.spec_of(configuration), Setting(configuration)
    assert setting.protocol == spec.protocol
    seen = rllib_rows.observations_of(setting, FOLLOWER)
    np.testing.assert_array_equal(seen, np.float32(spec.follower_network.features).T)
    found = rllib_rows.Referee(setting).regret(np.random.default_rng(0).integers(0, 2, len(seen)))
    assert found.shape == (8,) and (found >= 0).all() and found.any()

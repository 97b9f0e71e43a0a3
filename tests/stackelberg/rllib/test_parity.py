"""Both engines on the same small experiment: the same metric names, the same learning (acceptance 20)."""

import numpy as np
import pytest

from stackerlberg import exact
from stackerlberg.batched import followers, translate
from stackerlberg.experiments import catalogue
from stackerlberg.rllib.setting import protocol_of

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

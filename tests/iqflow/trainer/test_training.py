"""The compiled iteration: what is learned when, seeds side by side, resume to the bit, what is loaded back."""

import gc
from pathlib import Path

import jax
import numpy as np
import pytest

from common.cli import UserError
from common.runs import RunFolder
from iqflow.config.loading import parse
from iqflow.eval import evaluate, mechanism, plot
from iqflow.trainer import frozen, program, storage, training
from iqflow.trainer.training import Trainer

PAPER = Path(__file__).resolve().parents[3] / "iqflow"
SCRIPT = PAPER / "iqflow/trainer/train_multiprocess.py"
NETS = "--set nn.n_h1=4 --set nn.n_h2=4"
SHORT = "--set alg.n_eval=2 --set alg.period=3 --set alg.n_episodes=9 --set main.save_period=3"
IPD = (
    f"--alg qflow --exp ipd --config config_img_qflow {NETS} {SHORT} --set nn.n_hr1=4 --set nn.n_hr2=4 "
    "--set qflow.batch_size=8 --set qflow.meta_batch_size=8 --set qflow.start_train=20 --set qflow.obj_mask=false"
)
PG = f"--alg pg --exp er --config config_er_pg {NETS} {SHORT} --set env.n_agents=2 --set env.min_at_lever=1"
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def launch():
    return parse([*IPD.split(), "--seeds", "1-3"])


@pytest.fixture(scope="module")
def batch(launch):
    """Every test that trains three seeds side by side shares this compiled program."""
    return program.Batch(launch, Trainer(launch.settings), lambda: None)


@pytest.fixture(scope="module")
def fresh(batch):
    return jax.jit(jax.vmap(batch.trainer.fresh), compiler_options=program.QUICKLY_COMPILED)


def advance(batch, state, n, evaluate=False):
    return jax.device_get(batch.step(jax.tree.map(np.copy, state), np.int32(n), False, evaluate))


@pytest.fixture(scope="module")
def history(batch, fresh):
    """States before the first episode and after each of nine; leaves have the three seeds in front."""
    states = [jax.device_get(fresh(np.array(SEEDS, np.uint32)))]
    for _ in range(9):
        states.append(advance(batch, states[-1], 1)[0])
    return states


def same(first, second):
    return all(
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    )


def test_what_is_learned_when(history):
    """Five steps an episode: critics from 8 transitions on (episode 2), incentives from 20 steps before (episode 5)."""
    for before, after in zip(history, history[1:], strict=False):
        episode = int(after.episode[0])
        old, new = before.mechanism.mechanism, after.mechanism.mechanism
        assert int(after.step[0]) == 5 * episode == int(after.mechanism.replay.size[0])
        assert same(old.coop, new.coop) == same(old.env, new.env) == same(old.rew, new.rew) == (episode < 2)
        assert same(old.rewarder, new.rewarder) == (episode < 5)
        assert not same(before.followers.actor, after.followers.actor)


def test_episodes_in_one_call_are_the_same_episodes_and_an_evaluation_changes_none(history, batch):
    state, report = advance(batch, history[0], 9, evaluate=True)
    assert same(state, history[9])
    assert np.allclose(report["n_c"] + report["n_d"], 1)
    assert np.allclose(report["received"] + report["reward_env"], report["reward_total"], atol=1e-6)
    assert np.allclose(report["reward_env"].sum(1), report["reward_env_total"])
    assert report["detail"]["incentives"].shape == (3, 5, 2, 2, 2)
    assert np.all((report["detail"]["cooperation"] > 0) & (report["detail"]["cooperation"] < 1))


def test_without_incentives_nothing_is_paid(history):
    off = Trainer(parse(f"{IPD} --set env.r_multiplier=0".split()).settings)
    state = jax.tree.map(lambda leaf: leaf[0], history[9])
    report = jax.jit(off.evaluation, compiler_options=program.QUICKLY_COMPILED)(state)
    assert np.all(report["received"] == 0) and np.all(report["detail"]["incentives"] == 0)
    assert np.array_equal(report["reward_env"], report["reward_total"])


def test_a_lane_is_the_run_of_its_seed(history, launch):
    """One seed alone is another compiled program, so rounding may differ; nothing else does."""
    alone = program.Batch(launch, Trainer(launch.settings), lambda: None)
    start = jax.tree.map(lambda leaf: leaf[1:2], history[0])
    state, _ = advance(alone, start, 9)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(history[9]), strict=True):
        np.testing.assert_allclose(a[0], b[1], rtol=1e-4, atol=1e-5)


def train(words, root, make=Trainer):
    launch = parse([*words.split(), "--seeds", "1-3", "--run_root", str(root), "--device", "cpu"])
    return program.run(launch, SCRIPT, make)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of three seeds, and how often its iteration was traced."""
    root, traced = tmp_path_factory.mktemp("whole"), []

    class Counting(Trainer):
        def iterate(self, state):
            traced.append(1)
            return super().iterate(state)

    train(IPD, root, Counting)
    return root, len(traced)


def content(root):
    """Logs without times, and the saved agents' bits, by seed."""
    found = {}
    for path in sorted(root.glob("*/run.json")):
        run = RunFolder.read(path.parent)
        rows = [{**row, "time": 0} for row in run.metrics()]
        files = [file.read_bytes() for file in storage.saved_agents(run.path / "agents")]
        found[run.config["seed"]] = rows, files
    return found


def test_one_trace_for_the_whole_run(whole):
    assert whole[1] == 1


def test_a_run_is_the_states_that_its_program_computes(whole, history, batch):
    agents, _ = storage.load_agents(next(whole[0].glob("*/agents/agents_9")))
    run = RunFolder.read(next(whole[0].glob("*/agents/agents_9")).parents[1])
    lane = SEEDS.index(run.config["seed"])
    wanted = jax.tree.map(lambda leaf: leaf[lane], batch.trainer.agents(history[9]))
    assert same(agents, wanted)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def test_a_killed_run_goes_on_to_the_same_bits(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(program, "CHECKPOINT_TIMES", 0.0)
    calls = []

    def dies(self, *args, own=RunFolder.checkpoint):
        calls.append(args)
        if len(calls) == 5:  # the second seed's second checkpoint
            raise Killed
        own(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "checkpoint", dies)
        with pytest.raises(Killed):
            train(IPD, tmp_path)
    gc.collect()  # the killed process's locks
    train(IPD, tmp_path)
    assert content(tmp_path) == content(whole[0])
    assert len(content(tmp_path)[1][1]) == 3


def test_a_mechanism_is_loaded_in_three_lines(whole, tmp_path, capsys):
    run = next(whole[0].glob("*/run.json")).parent
    path = run / "agents" / "agents_9"

    saved = mechanism.load(path)
    incentives = saved(np.eye(5)[:, None].repeat(2, 1), np.array([[0, 1]] * 5))

    logged = np.array(RunFolder.read(run).metrics()[-1]["detail"]["incentives"])
    np.testing.assert_allclose(incentives, logged[:, 0, 1], atol=1e-6)
    with pytest.raises(UserError, match="takes observations"):
        saved(np.zeros((2, 4)), np.zeros(2))
    out = tmp_path / "out"
    words = ["--agents", str(path), "--episodes", "3", "--out", str(out), "--device", "cpu"]
    assert evaluate.body(words) == 0
    assert "payoff_1" in capsys.readouterr().out
    assert (out / "payoffs.csv").exists()
    assert plot.body([str(run / "log.csv"), "--out", str(tmp_path / "curves")]) == 0
    assert (tmp_path / "curves.png").exists()


# --- several episodes at once, shared reward, a mechanism that was trained before ----------------------------------


def one_episode(trainer, seed):
    state = jax.jit(trainer.fresh, compiler_options=program.QUICKLY_COMPILED)(np.uint32(seed))
    play = jax.jit(lambda state, key: trainer._play(state, trainer._act(state), key))
    return state, play(state, jax.random.PRNGKey(seed))


def test_several_episodes_at_once_move_the_followers_by_their_mean():
    """Plain gradient descent: the step on the mean of two losses is the mean of the two steps."""
    single = Trainer(parse(PG.split()).settings)
    double = Trainer(parse([*PG.split(), "--n_envs", "2"]).settings)
    state, first = one_episode(single, 0)
    _, second = one_episode(single, 1)
    both = jax.tree.map(lambda *leaves: np.stack(leaves), first, second)
    update = jax.jit(single._update)
    moved = [update(state.followers, record.episode, record.episode.rewards) for record in (first, second)]
    wanted = jax.tree.map(lambda a, b: (a + b) / 2, moved[0].actor, moved[1].actor)
    together = jax.jit(double._update)(state.followers, both.episode, both.episode.rewards)
    for a, b in zip(jax.tree.leaves(together.actor), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_several_episodes_at_once_all_go_into_replay():
    trainer = Trainer(parse([*IPD.split(), "--n_envs", "3"]).settings)
    state = jax.eval_shape(trainer.fresh, np.uint32(0))
    after = jax.eval_shape(trainer.iterate, state)
    assert jax.tree.map(np.shape, after) == jax.tree.map(np.shape, state)
    assert trainer.mechanism.capacity == 3 * 9 * 5
    empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state.mechanism.replay)
    records = jax.tree.map(
        lambda leaf: np.ones(leaf.shape, leaf.dtype),
        jax.eval_shape(trainer._episodes, state, jax.random.PRNGKey(0)),
    )
    assert int(trainer.mechanism._remember(empty, records).size) == 15


def test_the_designer_takes_one_episode_at_a_time():
    with pytest.raises(UserError, match="alg.n_envs is not for --alg id"):
        parse(["--alg", "id", "--exp", "er", "--config", "config_er_id", "--n_envs", "2"])


def agents_file(folder, words, value=0.5):
    """A file of agents as training writes it, every parameter the same."""
    launch = parse(words.split())
    trainer = Trainer(launch.settings)
    shapes = jax.eval_shape(trainer.agents, jax.eval_shape(trainer.fresh, np.uint32(0)))
    agents = jax.tree.map(lambda leaf: np.full(leaf.shape, value, leaf.dtype), shapes)
    return storage.save_agents(folder, 1, agents, launch.identity() | {"config": launch.settings.tree()}, 5)


QFLOW = PG.replace("pg", "qflow") + " --set nn.n_hr1=4 --set nn.n_hr2=4"


@pytest.fixture(scope="module")
def paid_run(tmp_path_factory):
    """Fresh followers, also with the shared reward, under a mechanism from a file: one run folder."""
    folder = tmp_path_factory.mktemp("paid")
    path = agents_file(folder, QFLOW)
    words = f"{PG} --mechanism {path} --seeds 1 --run_root {folder / 'runs'} --device cpu"
    launch = parse(words.split())
    assert program.run(launch, SCRIPT, lambda s: Trainer(s, frozen.load(launch.mechanism, s)))[1]
    return path, RunFolder.read(next((folder / "runs").glob("*/run.json")).parent)


def test_a_trained_mechanism_pays_fresh_followers_and_stays_as_it_is(paid_run):
    path, run = paid_run
    saved, config = mechanism.load(path), run.config
    given = np.asarray(saved(np.zeros((2, 6)), np.array([0, 2])))
    assert np.all(given > 1)
    for row in run.metrics():
        assert row["A1_received"] == pytest.approx(given[0] * row["steps_per_eps"], rel=0.2)
    assert config["alg"] == "pg" and len(config["mechanism"]) == 64
    arrays = run.restore().arrays
    kept = [value for name, value in arrays.items() if name.startswith("mechanism/")]
    assert kept and all(np.all(value == 0.5) for value in kept)


def test_another_mechanism_is_another_run(tmp_path, paid_run):
    other = agents_file(tmp_path, QFLOW, value=0.25)
    launches = [parse([*PG.split(), "--mechanism", str(path)]) for path in (paid_run[0], other)]
    digests = {launch.identity()["mechanism"] for launch in launches}
    assert len(digests) == 2 and "mechanism" not in parse(PG.split()).identity()


@pytest.mark.parametrize(
    "words, told",
    [
        (PG.replace("n_agents=2", "n_agents=3"), "n_agents 2, and here it is 3"),
        ("--alg pg --exp ssd --config config_ssd_pg", "--exp er, and here it is ssd"),
    ],
)
def test_a_mechanism_of_another_game_is_refused(paid_run, words, told):
    with pytest.raises(UserError, match=told):
        frozen.load(paid_run[0], parse(words.split()).settings)


def test_a_mechanism_of_another_map_is_refused(tmp_path):
    path = agents_file(tmp_path, "--alg qflow --exp ssd --config config_ssd_qflow")
    words = "--alg pg --exp ssd --config config_ssd_pg --set env.map_name=cleanup_other"
    with pytest.raises(UserError, match="map_name cleanup_small_sym, and here it is cleanup_other"):
        frozen.load(path, parse(words.split()).settings)


def test_a_file_without_a_mechanism_is_refused(tmp_path):
    path = agents_file(tmp_path, PG)
    with pytest.raises(UserError, match="has no mechanism"):
        frozen.load(path, parse(PG.split()).settings)


@pytest.mark.parametrize(
    "words, told",
    [
        (f"{QFLOW} --mechanism x", "--mechanism is for --alg pg"),
        (f"{PG} --mechanism nowhere/agents_1", "no checkpoint at nowhere/agents_1"),
    ],
)
def test_a_mechanism_that_nothing_reads_or_that_is_not_there(words, told):
    with pytest.raises(UserError, match=told):
        parse(words.split())


@pytest.mark.parametrize("words", [PG, IPD])
def test_the_shared_reward_is_asked_for_with_and_without_a_mechanism(words, monkeypatch):
    asked = []

    def follower_rewards(rewards, incentives, shared):
        asked.append((incentives is not None, shared))
        return rewards

    monkeypatch.setattr(training, "follower_rewards", follower_rewards)
    section = words.split()[1]
    for shared in ("true", "false"):
        trainer = Trainer(parse([*words.split(), "--set", f"{section}.shared_reward={shared}"]).settings)
        jax.eval_shape(trainer.iterate, jax.eval_shape(trainer.fresh, np.uint32(0)))
    assert asked == [(section == "qflow", True), (section == "qflow", False)]


# --- the log's columns ---------------------------------------------------------------------------------------------

LOGS = {
    "qflow_ipd": "--alg qflow --exp ipd --config config_img_qflow",
    "qflow_chicken": "--alg qflow --exp chicken --config config_img_qflow",
    "qflow_er": "--alg qflow --exp er --config config_er_qflow",
    "id_er": "--alg id --exp er --config config_er_id",
    "pg_er": "--alg pg --exp er --config config_er_pg",
    "qflow_ssd7x7": "--alg qflow --exp ssd --config config_ssd_qflow",
    "id_ssd7x7": "--alg id --exp ssd --config config_ssd_id",
    "pg_ssd7x7": "--alg pg --exp ssd --config config_ssd_pg",
}


@pytest.mark.golden("curves_*.csv")
def test_the_columns_are_the_originals(case):
    name = next(name for name in LOGS if case.name.startswith(f"curves_{name}"))
    trainer = Trainer(parse(LOGS[name].split()).settings)
    state = jax.eval_shape(trainer.fresh, np.uint32(0))
    shapes = jax.eval_shape(trainer.evaluation, state)
    report = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    columns = ["episode", "step_train", *trainer.row(report)]
    assert [column for column in columns if column != "detail"] == case.read_text().splitlines()[0].split(",")

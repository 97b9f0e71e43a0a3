"""Agents from files: ours, POLA's, the published ones, M-FOS; and everything that is refused."""

import json
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from common import checkpoints
from common.cli import UserError
from loqa.coin import agents as coin
from loqa.coin.game import CoinGame
from loqa.league import loaders
from loqa.league.agents import RecurrentPolicy

GAME = CoinGame(3, 3)
SENTINEL = object()


def _load(path, **kwargs):
    return loaders.load_agent(path, "x", GAME, **kwargs)


@pytest.mark.golden("trained_forward_*.npz")
def test_published_agents_forward(recorded, case):
    """Outputs of the published agents on recorded observations; POLA's logits in our order of actions."""
    name = case.stem.removeprefix("trained_forward_")
    seen = np.load(case.parent / "coin_trace_case0.npz")["obs"][:, 0].reshape(-1, 1, GAME.observation_size)
    loqa = np.load(case.parent / f"trained_loqa_{name}.npz")
    params = {head: {} for head in ("actor_head", "qvalue_head")}
    params = checkpoints.nested({key: loqa[key] for key in loqa.files})
    heads = coin.sequence(params, jnp.asarray(seen))
    np.testing.assert_allclose(heads.log_probs[:, 0], recorded["logp"], atol=1e-4)
    np.testing.assert_allclose(heads.q[:, 0], recorded["qvalue"], atol=1e-4)
    for file, output in ((f"trained_loqa_{name}.npz", "logp"), ("trained_pola_seed1.npz", "pola_logits")):
        agent = _load(case.parent / file)
        memory, logits = agent.policy.start(agent.params, 1), []
        for observation in jnp.asarray(seen):
            memory, now = agent.policy.logits(agent.params, memory, observation)
            logits.append(now[0])
        expected = recorded[output]
        found = np.stack(logits)
        if output == "logp":
            found = found - np.log(np.exp(found).sum(-1, keepdims=True))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_loqa_file(tmp_path, write_loqa):
    path = write_loqa(tmp_path / "minimal_state_7")
    agent = _load(path)
    assert (agent.family, agent.policy, len(agent.digest)) == ("LOQA", RecurrentPolicy(), 64)
    arrays, _ = checkpoints.load(path)
    kernel = agent.params[coin.BLOCK]["GRUCell"]["hn"]["kernel"]
    np.testing.assert_array_equal(kernel, arrays[f"agent0/params/actor_head/{coin.BLOCK}/GRUCell/hn/kernel"])
    assert _load(path, family="mine").family == "mine"


@pytest.mark.parametrize(
    ("hp", "family"),
    [
        ({}, "LOQA"),
        ({"agent_replay_buffer": {"mode": "disabled"}}, "LOQA-noRB"),
        ({"just_self_play": False}, "LOQA-noSP"),
        ({"agent_0": "naive", "just_self_play": False}, "naive"),
        ({"agent_0": "best-response"}, "best-response"),
    ],
)
def test_family_comes_from_the_run(tmp_path, write_loqa, hp, family):
    assert _load(write_loqa(tmp_path / "agent", **hp)).family == family


def test_pola_file_gives_the_first_player(tmp_path, write_pola):
    arrays = write_pola(tmp_path / "checkpoint_seed1_epoch3")
    agent = _load(tmp_path / "checkpoint_seed1_epoch3")
    assert agent.family == "POLA"
    observation = np.random.default_rng(1).normal(size=(1, 36)).astype(np.float32)
    _, logits = agent.policy.logits(
        agent.params, agent.policy.start(agent.params, 1), jnp.asarray(observation)
    )

    def layer(name, inputs):
        weights = (arrays[f"agents/networks/policy/{name}/{part}"][0] for part in ("kernel", "bias"))
        kernel, bias = weights
        return inputs @ kernel + bias

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    hidden = np.maximum(layer("linear1", observation), 0)
    memory = arrays["agents/networks/policy/GRUCell/hn/bias"][0]
    update = sigmoid(layer("GRUCell/iz", hidden))
    candidate = np.tanh(layer("GRUCell/in", hidden) + sigmoid(layer("GRUCell/ir", hidden)) * memory)
    outputs = layer("linear_end", (1 - update) * candidate)
    np.testing.assert_allclose(logits, outputs[:, [1, 0, 3, 2]], atol=1e-4)


def test_mfos_file(tmp_path, mfos_arrays):
    np.savez(tmp_path / "mfos_42.npz", **mfos_arrays)
    assert _load(tmp_path / "mfos_42.npz").family == "M-FOS"
    assert _load(tmp_path / "mfos_42.npz", mfos_carried=True).policy.carried


def _resaved(path, change):
    arrays, meta = checkpoints.load(path)
    change(arrays)
    checkpoints.save(path, arrays, meta)


HEAD = f"agent0/params/actor_head/{coin.BLOCK}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: arrays.pop(f"{HEAD}/GRUCell/hr/kernel"), "lacks the array GRUCell/hr/kernel"),
        (lambda arrays: arrays.pop(f"{HEAD}/GRUCell/hn/bias"), "lacks the array GRUCell/hn/bias"),
        (lambda arrays: arrays.update({f"{HEAD}/extra/bias": np.zeros(3)}), "has the array extra/bias"),
        (
            lambda arrays: arrays.update({f"{HEAD}/linear_end/bias": np.zeros(5, "f")}),
            r"should be float32\[4\]",
        ),
        (lambda arrays: arrays.update({f"{HEAD}/linear_end/bias": np.zeros(4)}), r"is float64\[4\]"),
        (lambda arrays: arrays[f"{HEAD}/linear_end/bias"].fill(np.nan), "not finite"),
    ],
)
def test_another_network_is_refused(tmp_path, write_loqa, change, words):
    path = write_loqa(tmp_path / "agent")
    _resaved(path, change)
    with pytest.raises(UserError, match=words):
        _load(path)


def test_another_board_is_refused(tmp_path, write_loqa):
    with pytest.raises(UserError, match=r"trained on 5 x 5 cells; the league is played on 3 x 3"):
        _load(write_loqa(tmp_path / "agent", side=5))
    arrays, _ = checkpoints.load(tmp_path / "agent")
    plain = {name.removeprefix("agent0/params/"): value for name, value in arrays.items()}
    np.savez(tmp_path / "plain.npz", **plain)
    with pytest.raises(UserError, match="observations of 100 numbers"):
        _load(tmp_path / "plain.npz")


def test_damaged_and_foreign_files_are_refused(tmp_path, write_loqa, mfos_arrays):
    path = write_loqa(tmp_path / "agent")
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(UserError, match="damaged"):
        _load(path)
    path.write_bytes(content[:-20] + b"x" * 20)
    with pytest.raises(UserError, match="damaged"):
        _load(path)
    with pytest.raises(UserError, match="no agent at"):
        _load(tmp_path / "absent")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="not a checkpoint"):
        _load(tmp_path / "text")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(UserError, match="holds no LOQA, POLA or M-FOS agent"):
        _load(tmp_path / "other.npz")
    np.savez(tmp_path / "mfos.npz", **mfos_arrays | {"policy.bias": np.zeros(3, np.float32)})
    with pytest.raises(UserError, match=r"policy.bias"):
        _load(tmp_path / "mfos.npz")
    whole = (tmp_path / "mfos.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="can't be read as an agent"):
        _load(tmp_path / "cut.npz")


def test_no_file_runs_code(tmp_path):
    with zipfile.ZipFile(tmp_path / "1000_0.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(UserError, match="could run code"):
        _load(tmp_path / "1000_0.pth")
    np.savez(tmp_path / "pickled.npz", **{"actor_head/x": np.array([SENTINEL], dtype=object)})
    with pytest.raises(UserError, match="can't be read as an agent"):
        _load(tmp_path / "pickled.npz")


def test_folder(tmp_path, write_loqa, write_pola):
    for iteration in (0, 900, 1000):
        write_loqa(tmp_path / "loqa_10" / f"minimal_state_{iteration}", seed=iteration)
    write_loqa(tmp_path / "loqa_9" / "minimal_state_5")
    write_pola(tmp_path / "pola_new_0")
    agents = loaders.load_folder(tmp_path, GAME)
    assert [(agent.name, agent.family) for agent in agents] == [
        ("loqa_9", "LOQA"),
        ("loqa_10", "LOQA"),
        ("pola_new_0", "POLA"),
    ]
    newest = _load(tmp_path / "loqa_10" / "minimal_state_1000")
    assert agents[1].digest == newest.digest
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no agent"):
        loaders.load_folder(tmp_path, GAME)


def test_manifest(tmp_path, write_loqa):
    write_loqa(tmp_path / "deep" / "one")
    entries = [{"name": "first", "file": "deep/one", "family": "AA"}, {"name": "second", "file": "deep/one"}]

    def agents(entries):
        (tmp_path / "agents.json").write_text(json.dumps({"agents": entries}))
        return [(agent.name, agent.family) for agent in loaders.load_folder(tmp_path, GAME)]

    assert agents(entries) == [("first", "AA"), ("second", "LOQA")]
    for wrong, words in [
        ([{"name": "a"}], "lacks 'file'"),
        ([entries[0] | {"hue": 1}], "has the key hue"),
        ([entries[0], entries[0]], "two agents named first"),
        ([entries[0] | {"name": "a/b"}], "has no slash"),
        ([entries[0] | {"file": "absent"}], "no agent at"),
    ]:
        with pytest.raises(UserError, match=words):
            agents(wrong)
    (tmp_path / "agents.json").write_text("{")
    with pytest.raises(UserError, match="can't be read"):
        loaders.load_folder(tmp_path, GAME)

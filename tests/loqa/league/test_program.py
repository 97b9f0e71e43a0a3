"""The league's commands as a person runs them: whole leagues, single pairs, interruptions, the probe, bad input."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from common.cli import run_main
from common.runs import RunFolder
from loqa.league import probe, program
from loqa.league.config import MODES, parse
from loqa.league.results import Results

SCRIPT = Path(__file__).resolve().parents[3] / "loqa" / "league" / "run_league.py"
TINY = ["--batch_size=3", "--trace_length", "4"]


@pytest.fixture(scope="module")
def body(script):
    return script(SCRIPT).body


@pytest.fixture
def call(body, tmp_path, monkeypatch, original_streams):
    """`call(words...)`: run the program here, in an empty folder; returns its exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
        try:
            return run_main(body, list(words), program="run_league.py")
        except SystemExit as stop:
            return stop.code

    return run


@pytest.fixture
def agents(tmp_path, write_loqa, write_pola):
    """A folder with two LOQA agents, two ablations and a POLA agent."""
    folder = tmp_path / "agents"
    for seed in (1, 2):
        write_loqa(folder / f"loqa_{seed}" / "minimal_state_7", seed=seed)
    write_loqa(folder / "loqa_norb_1" / "minimal_state_7", seed=3, agent_replay_buffer={"mode": "disabled"})
    write_loqa(folder / "loqa_nosp_1" / "minimal_state_7", seed=4, just_self_play=False)
    write_pola(folder / "pola_0")
    return folder


def test_whole_league(call, agents, tmp_path, capsys):
    assert call("main", "--league_name=L", "--league_mode=all", "--agents", str(agents), *TINY) == 0
    kept = Results.read(tmp_path / "L" / "all_results_matrix.json")
    names = ["loqa_1", "loqa_2", "pola_0", "loqa_norb_1", "loqa_nosp_1"]
    names += ["Always Defect", "Always Cooperate", "random"]
    assert list(kept.pairs) == [(one, other) for i, one in enumerate(names) for other in names[i:]]
    assert {path.name for path in (tmp_path / "L").iterdir()} == {
        "all_results_matrix.json",
        "all_results_matrix.csv",
        "all_family_means.csv",
        "all_heat_map.png",
        "all_heat_map.svg",
    }
    entry = kept.pairs["loqa_1", "random"]
    assert (entry["games"], entry["steps"], entry["seed"]) == (3, 4, 2)
    assert "LOQA - POLA" in capsys.readouterr().out


def test_modes_keep_their_pairs(agents):
    players = program.line_up(str(agents))

    def names(mode):
        return {(one.name, other.name) for one, other in program.pairs_of(players, mode)}

    every = names("all")
    assert len(every) == 8 * 9 // 2 and all(names(mode) <= every for mode in MODES)
    assert names("self_play") == {(player.name, player.name) for player in players}
    assert len(names("trained_opponent")) == 5 * 6 // 2
    assert names("random_opponent") == {(player.name, "random") for player in players}
    ablations = {"loqa_norb_1", "loqa_nosp_1"}
    assert names("ablation") == {pair for pair in every if pair[0] in ablations}
    assert names("ablation_2") == {pair for pair in every if pair[1] in ablations}
    assert not names("mfos") and not names("advantage_alignment")


def test_mfos_and_follow_up_modes(tmp_path, write_loqa, mfos_arrays, call):
    folder = tmp_path / "agents"
    folder.mkdir()
    np.savez(folder / "mfos_42.npz", **mfos_arrays)
    write_loqa(folder / "aa")
    entries = [{"name": "mfos_42", "file": "mfos_42.npz"}, {"name": "aa", "file": "aa", "family": "AA"}]
    (folder / "agents.json").write_text(json.dumps({"agents": entries}))
    players = program.line_up(str(folder))
    assert all("mfos_42" in {a.name, b.name} for a, b in program.pairs_of(players, "mfos"))
    assert len(program.pairs_of(players, "advantage_alignment")) == 5
    flags = ["--league_mode=mfos", "--agents", str(folder), *TINY]
    assert call("main", "--league_name=reset", *flags) == 0
    assert call("main", "--league_name=carried", *flags, "--mfos_memory=carried") == 0
    assert call("main", "--league_name=reset", *flags, "--mfos_memory=carried") == 2


def test_interrupted_league_goes_on(call, agents, tmp_path, monkeypatch):
    flags = ["--league_mode=all", "--agents", str(agents), *TINY]
    assert call("main", "--league_name=whole", *flags) == 0
    played, limit = [], 3
    real = program.play_pairs

    def counting(game, pairs, *rest):
        if limit is not None and len(played) == limit:
            raise KeyboardInterrupt
        played.append(len(pairs))
        return real(game, pairs, *rest)

    monkeypatch.setattr(program, "play_pairs", counting)
    assert call("main", "--league_name=cut", *flags) == 130
    kept = Results.read(tmp_path / "cut" / "all_results_matrix.json")
    assert 0 < len(kept.pairs) == sum(played) < 36
    limit = None
    assert call("main", "--league_name=cut", *flags) == 0
    assert sum(played) == 36
    results = [(tmp_path / name / "all_results_matrix.json").read_bytes() for name in ("whole", "cut")]
    assert results[0] == results[1]
    played.clear()
    assert call("main", "--league_name=cut", *flags) == 0
    assert not played


def test_single_pairs_are_farmed_and_merged(call, agents, tmp_path):
    shared = ["--agents", str(agents), *TINY]
    assert call("main", "--league_name=F", "--league_mode=all", *shared) == 0
    farmed = tmp_path / "G"
    pairs = [("loqa_1", "pola_0"), ("loqa_1", "Always Defect")]
    for one, other in pairs:
        assert call("main", f"--league_name={farmed}", f"--agent1={one}", "--agent2", other, *shared) == 0
    assert (farmed / "loqa_1_vs_Always Defect_results_matrix.json").exists()
    assert call("merge", "--league_name", str(farmed)) == 0
    merged = Results.read(farmed / "results_matrix.json")
    whole = Results.read(tmp_path / "F" / "all_results_matrix.json")
    assert set(merged.pairs) == set(pairs)
    for pair in pairs:
        assert merged.pairs[pair] == whole.pairs[pair]
    assert (farmed / "heat_map.png").exists() and (farmed / "family_means.csv").exists()


def test_debug_mode_and_episode_logs(call, tmp_path):
    words = ["main", "--league_name=D", "--league_mode", "self_play", "--debug_mode", "--episode_logs=True"]
    assert call(*words) == 0
    logs = sorted((tmp_path / "D" / "self_play_episode_logs").iterdir())
    assert [path.name for path in logs] == [
        "Always Cooperate_vs_Always Cooperate.npz",
        "Always Defect_vs_Always Defect.npz",
        "random_vs_random.npz",
    ]
    with np.load(logs[0]) as episode:
        assert episode["players"].shape == (6, 2, 2) and episode["rewards"].shape == (5, 2, 2)
    logs[0].unlink()
    assert call(*words) == 0 and logs[0].exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("main --league_mode=all", "required: --league_name"),
        ("main --league_name=L", "give --league_mode, or both"),
        ("main --league_name=L --agent1=random", "give --league_mode, or both"),
        ("main --league_name=L --league_mode=all --agent1=random", "give either"),
        ("main --league_name=L --league_mode=custom", "invalid choice"),
        ("main --league_name=L --league_mode=all --batchsize=3", "did you mean --batch_size?"),
        ("main --league_name=L --league_mode=all --batch_size=0", "no whole number from 1"),
        ("main --league_name=L --league_mode=all --seed=4294967296", "no whole number from 0 to 4294967295"),
        ("main --league_name=L --league_mode=all --debug_mode=maybe", "neither True nor False"),
        ("main --league_name=L --agent1=nobody --agent2=random", "no agent 'nobody'; there are"),
        ("main --league_name=L --agent1=randon --agent2=random", "did you mean 'random'?"),
        ("main --league_name=L --league_mode=mfos", "keeps no pair"),
        ("main --league_name=L --league_mode=all --agents=absent", "no folder of agents"),
        ("merge --league_name=L", "holds no"),
        ("test_trained_agent_loader --agent=nobody", "no agent 'nobody'"),
        ("test_trained_agent_loader --reward_discount=2", "at most 1"),
    ],
)
def test_bad_input(call, capsys, tmp_path, words, message):
    assert call(*words.split()) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_probe_resumes_bit_for_bit(call, tmp_path, monkeypatch):
    words = ["test_trained_agent_loader", "--agent=Always Cooperate", "--iterations=6", "--batch_size=4"]
    words += ["--trace_length=5", "--hidden_size=4", "--eval_every=2", "--run_root"]
    assert call(*words, "whole") == 0
    monkeypatch.setattr(probe, "CHECKPOINT_SECONDS", 0.0)
    real, lines = RunFolder.log, []

    def cut(self, row):
        if len(lines) == 2:
            raise KeyboardInterrupt
        lines.append(row)
        real(self, row)

    monkeypatch.setattr(RunFolder, "log", cut)
    assert call(*words, "cut") == 130
    monkeypatch.setattr(RunFolder, "log", real)
    assert call(*words, "cut") == 0
    whole, resumed = (next((tmp_path / name).iterdir()) for name in ("whole", "cut"))
    assert whole.name == resumed.name
    assert (whole / "metrics.jsonl").read_bytes() == (resumed / "metrics.jsonl").read_bytes()
    agents = [path / "agents" / "minimal_state_6" for path in (whole, resumed)]
    assert agents[0].read_bytes() == agents[1].read_bytes()
    found = program.loaders.load_agent(agents[0], "response", program.GAME)
    assert found.family == "best-response"


def test_probe_learns_to_take_from_a_cooperator(original_streams):
    """A plain learner finds that always-cooperate never punishes: it earns clearly more than it did at first."""
    import jax

    flags = "test_trained_agent_loader --iterations 120 --batch_size 64 --trace_length 16 --hidden_size 16"
    config = parse([*flags.split(), "--learning_rate", "0.01"])
    agent = program.pick(program.line_up(""), config.agent)
    learner = probe.BestResponse(config, agent.policy)
    step = jax.jit(learner.advance)
    state = jax.jit(learner.fresh)(np.uint32(0))
    _, before = step(state, agent.params, np.int32(0))
    _, after = step(state, agent.params, np.int32(120))
    assert after[0] > before[0] + 0.2 and after[0] > 0.35

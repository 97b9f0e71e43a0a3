"""On a cluster of several nodes, one of which is lost; a killed driver; a search. Minutes, for Ray's processes alone."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from stackerlberg import launch, program
from stackerlberg.rllib import cluster

NAME = "smipd_hiddenqueries_pg_pg_new"
SCRIPT = (
    "import sys; from stackerlberg import launch, program; sys.exit(program.run(launch.parse(sys.argv[1:])))"
)
SIZE = {"pre_training_iterations": 40, "outer_iterations": 60, "post_training_iterations": 10}


def rows_of(root, words):
    folders = program.train(launch.parse([*words, "--run_root", str(root)]))
    return {seed: folder.metrics() for seed, folder in folders.items()}


@pytest.fixture
def alone():
    """No Ray in this process before, none after."""
    import ray

    ray.shutdown()
    yield
    ray.shutdown()


@pytest.mark.slow
def test_a_run_ends_well_though_a_node_is_lost(tmp_path, alone, words_of, monkeypatch):
    """Three worker nodes; one that has trials is killed when rows have come; every row is as without Ray's help."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr("stackerlberg.rllib.engine.CHECKPOINT_SECONDS", 1.0)
    cluster.quiet()
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    workers = [nodes.add_node(num_cpus=1) for _ in range(3)]
    nodes.wait_for_nodes()
    words = [f"--experiment={NAME}", "--engine", "rllib", "--seeds", "0-1", *words_of(SIZE)]
    killed = []

    def kill():
        until = time.monotonic() + 300
        while time.monotonic() < until and not killed:
            rows = sum(len(path.read_bytes().splitlines()) for path in tmp_path.glob("a/*/metrics.jsonl"))
            if rows >= 4:
                nodes.remove_node(workers[0], allow_graceful=False)
                killed.append(rows)
            time.sleep(0.2)

    watcher = threading.Thread(target=kill)
    watcher.start()
    try:
        found = rows_of(tmp_path / "a", [*words, "--ray_address", nodes.address])
    finally:
        watcher.join()
        nodes.shutdown()
    assert killed and killed[0] < sum(map(len, found.values()))  # it was lost in the middle
    assert found == rows_of(tmp_path / "b", [*words, "--ray_local_mode"])


@pytest.mark.slow
def test_a_killed_run_goes_on_and_gives_what_an_uninterrupted_one_gives(tmp_path, alone, words_of):
    words = [f"--experiment={NAME}", "--engine", "rllib", "--seed", "0", *words_of(SIZE)]
    root = ["--run_root", str(tmp_path / "a")]
    driver = subprocess.Popen([sys.executable, "-c", SCRIPT, *words, *root], start_new_session=True)
    until = time.monotonic() + 300
    while time.monotonic() < until and driver.poll() is None:
        if sum(len(path.read_bytes().splitlines()) for path in tmp_path.glob("a/*/metrics.jsonl")) >= 5:
            break
        time.sleep(0.2)
    assert driver.poll() is None
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    found = rows_of(tmp_path / "a", words)
    (record,) = [json.loads(path.read_text("utf-8")) for path in tmp_path.glob("a/*/run.json")]
    assert record["sessions"] == 2
    assert found == rows_of(tmp_path / "b", [*words, "--ray_local_mode"])


@pytest.mark.slow
def test_a_search_with_tune_and_optuna(tmp_path, alone, words_of, capfd):
    from stackerlberg.rllib.search import search

    size = {"pre_training_iterations": 2, "outer_iterations": 2, "post_training_iterations": 0}
    words = ["--experiment=smipd_leadernomemory_pg_pg", "--engine", "rllib", "--hyperopt", *words_of(size)]
    asked = launch.parse([*words, "--hyperopt_samples", "20", "--run_root", str(tmp_path)])
    assert search(asked) == 0
    (journal,) = tmp_path.glob("searches/*.json")
    samples = list(json.loads(journal.read_text("utf-8")).values())
    assert {each["sample"]["leader_config.lr"] for each in samples} == {
        0.008,
        0.015,
    }  # starting points come first
    assert all(len(each["scores"]) == 10 for each in samples)  # the repeats are averaged
    assert "best:" in capfd.readouterr().out

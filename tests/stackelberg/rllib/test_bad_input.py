"""What this engine can't do, or a Ray that can't be had: one line, exit code 2."""

import os
import socket
import subprocess
import sys

import pytest

from common.cli import UserError
from stackerlberg import launch
from stackerlberg.rllib import cluster

BASE = ["--experiment=smipd_nothiddenqueries_pg_pg", "--engine", "rllib"]


def test_an_address_at_which_nothing_listens():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(UserError, match=f"no Ray cluster answers at {address} within 1 s"):
        cluster._check_address(address, 1.0)


def test_an_address_at_which_something_else_listens():
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with pytest.raises(UserError, match="no Ray cluster answers"):
            cluster._check_address(f"127.0.0.1:{mute.getsockname()[1]}", 1.0)


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "head:port"])
def test_an_address_that_is_none(address):
    with pytest.raises(UserError, match="HOST:PORT"):
        cluster._check_address(address, 1.0)


def test_a_ray_that_does_not_start(tmp_path):
    """Ray wants to make its folder below a file."""
    code = "import sys; from common.cli import run_main; from stackerlberg import launch, program; "
    code += "sys.exit(run_main(lambda argv: program.run(launch.parse(argv)), sys.argv[1:], program='run_experiment.py'))"
    settings = ["--set", "outer_iterations=1", "--set", "pre_training_iterations=0", "--seed", "0"]
    environment = os.environ | {"RAY_TMPDIR": os.devnull}
    environment.pop("RAY_ADDRESS", None)
    words = [*BASE, *settings, "--run_root", str(tmp_path)]
    found = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True
    )
    assert found.returncode == 2, found.stderr
    assert found.stderr.splitlines()[-1].startswith("run_experiment.py: Ray can't be started on this machine")


def test_what_the_engine_does_not_have(run):
    with pytest.raises(UserError, match="--device cuda: engine rllib"):
        run(*BASE, "--device", "cuda", "--seed", "0")
    with pytest.raises(UserError, match="ES moves a table"):
        run(*BASE, "--seed", "0", "--set", "leader_algorithm=ES", "--set", "leader_config.network=stock")


def test_a_search_beside_a_grid():
    with pytest.raises(UserError, match="can't search while"):
        launch.parse(["--experiment=smipd_hiddenqueries_pg_pg_new", "--engine", "rllib", "--hyperopt"])

"""The benchmarks of offline learning and imitation run and print what they measured."""

import re
from pathlib import Path

import jax
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "marlhf" / "benchmarks"


@pytest.fixture(autouse=True)
def any_rank():
    with jax.numpy_rank_promotion("allow"):  # JaxMARL promotes
        yield


def test_offline_learning_with_tests_is_timed(capfd, script):
    from marlhf.environments import make_task

    script(BENCHMARKS / "offline_speed.py").tested(
        make_task("spread"), rows=40, every=1, episodes=2, repeats=1
    )
    # capfd: importing JaxMARL puts sys.stdout back to the process's own
    first, second = capfd.readouterr().out.splitlines()[-2:]
    assert re.search(r"VDN, 2 episodes every 1 updates +[\d.]+ +[\d.]+ +720 +[\d.]+$", first)
    assert "10 000 updates" in second


def test_imitation_is_timed(capsys, script):
    speed = script(BENCHMARKS / "imitation_speed.py")
    speed.imitation(speed.random_rows(48), "corrected", repeats=1)
    assert re.search(r"imitation, corrected +[\d.]+ +[\d.]+ +250 +[\d.]+ ", capsys.readouterr().out)

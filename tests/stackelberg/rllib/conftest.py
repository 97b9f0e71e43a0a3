"""One Ray for all tests of the engine, and small sizes for its experiments."""

import pytest

from stackerlberg import launch, program
from stackerlberg.launch import Ray
from stackerlberg.rllib import cluster


@pytest.fixture(scope="session")
def small():
    """Settings for seconds instead of hours: every phase of a contextual experiment."""
    return {
        "pre_training_iterations": 2,
        "outer_iterations": 2,
        "post_training_iterations": 1,
        "leader_config.min_sample_timesteps_per_iteration": 1,
        "leader_config.learning_starts": 1,
        "leader_config.evaluation_duration": 2,
    }


@pytest.fixture(scope="session")
def words_of():
    """``--set`` words of a dictionary."""
    return lambda settings: [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="session")
def ray_here():
    """Ray, started once; the engine uses what is there."""
    with cluster.started(Ray(num_cpus=2)):
        yield


@pytest.fixture
def run(tmp_path):
    """Run a command line of the script in this process: its launch and rows per seed."""

    def ran(*words, root=tmp_path):
        asked = launch.parse([*words, "--run_root", str(root)])
        folders = program.train(asked)
        return asked, {seed: folder.metrics() for seed, folder in folders.items()}

    return ran

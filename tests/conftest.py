"""What every paper's tests share: golden cases (`@pytest.mark.golden("step_*.npz")` gives a test its files as `case`),
scripts as modules, a reader of mirrors to wandb, compiled programs, a process that is killed, and the marker `slow`."""

import functools
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from common.checkpoints import nested
from common.cli import run_main
from common.compilation import quick_settings

# On the CPU, on one thread (see the papers' `choose_device`), and compiled quickly: programs this small are compiled
# longer than they run.
for name, value in ({"JAX_PLATFORMS": "cpu", "NPROC": "1"} | quick_settings()).items():
    os.environ.setdefault(name, value)

TESTS = Path(__file__).parent


class Recorded(dict):
    """The values of one NPZ file by name."""

    def tree(self, prefix):
        """The entries below ``prefix/`` or ``prefix:`` as nested dictionaries, floats in single precision."""
        below = {
            name[len(prefix) + 1 :]: self[name]
            for name in self
            if name.startswith((f"{prefix}/", f"{prefix}:"))
        }
        return nested(
            {name: np.float32(value) if value.dtype.kind == "f" else value for name, value in below.items()}
        )


@pytest.fixture
def recorded(case):
    """The golden case of a test."""
    return Recorded(np.load(case))


def _paper(path) -> str:
    """The folder of the paper that a test or a folder of tests belongs to."""
    return path.relative_to(TESTS).parts[0]


@pytest.fixture(scope="session")
def script():
    """`script(path)`: a file as a module; what it does when Python is started with it stays undone."""

    def load(path):
        spec = importlib.util.spec_from_file_location("_".join(Path(path).with_suffix("").parts[-2:]), path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where its dataclasses look for it
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="module")
def film(script, request):
    """The paper's ``film.py``: the words of a command line -> the exit code."""
    module = script(TESTS.parent / _paper(request.path) / "film.py")
    return functools.partial(run_main, module.body, program="film.py")


@pytest.fixture
def same_film():
    """`same_film(new, old)`: as many frames of one size, and the same last one, which shows all that came before."""
    from PIL import Image

    def compare(*paths):
        with Image.open(paths[0]) as new, Image.open(paths[1]) as old:
            assert (new.n_frames, new.size) == (old.n_frames, old.size)
            for picture in (new, old):
                picture.seek(new.n_frames - 1)
            assert np.array_equal(np.asarray(new.convert("RGB")), np.asarray(old.convert("RGB")))

    return compare


@pytest.fixture(scope="module")
def writer(script, request):
    """The paper's ``write_players.py``."""
    return script(TESTS.parent / _paper(request.path) / "write_players.py")


@pytest.fixture
def original_streams():
    """The random streams of the originals' JAX."""
    import jax

    partitionable = jax.config.jax_threefry_partitionable
    jax.config.update("jax_threefry_partitionable", False)
    yield
    jax.config.update("jax_threefry_partitionable", partitionable)


@pytest.fixture
def wandb_records():
    """The reader of a finished offline mirror: the file's path -> its records."""
    from wandb.proto.wandb_internal_pb2 import Record

    def written(data):
        at, parts = 7, b""  # seven bytes say what the file is; then parts of records, in blocks of 32 KiB
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:  # too little is left of the block for a header: the rest is padding
                at += 32768 - at % 32768
                continue
            length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
            parts += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4) and at <= len(data):  # a whole record, or the last part of one
                yield Record.FromString(parts)
                parts = b""

    def read(path):
        until = time.monotonic() + 60
        while True:
            records = list(written(path.read_bytes()))
            # wandb's own process writes the file's end a moment after the mirror is finished.
            if any(record.HasField("exit") for record in records) or time.monotonic() > until:
                return records
            time.sleep(0.1)

    return read


@pytest.fixture(scope="session")
def compiled_once(tmp_path_factory):
    """JAX programs that several tests, the processes that they start and the other workers need are compiled by the
    first of them. A paper whose tests want that has a fixture of its own that asks for this one."""
    import jax

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    settings = {
        "jax_compilation_cache_dir": str(folder / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


KILLED = """
import os, runpy, signal, sys
from common.runs import RunFolder

script, saves, *words = sys.argv[1:]
left, checkpoint = iter(range(int(saves))), RunFolder.checkpoint


def save_or_die(self, *state):
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    checkpoint(self, *state)


RunFolder.checkpoint = save_or_die
sys.argv = [script, *words]
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="session")
def killed():
    """`killed(script, words, saves)`: a process of its own that saves so often and gets a SIGKILL where it would save
    once more, after rows that no checkpoint knows of. So it never ends before it can be killed, however short it is."""

    def run(script, words, saves):
        command = [sys.executable, "-c", KILLED, str(script), str(saves), *map(str, words)]
        done = subprocess.run(command, cwd=Path(script).parent, capture_output=True, text=True, timeout=300)
        assert done.returncode == -signal.SIGKILL, f"exit code {done.returncode}: {done.stderr}"

    return run


def pytest_addoption(parser):
    parser.addoption(
        "--golden-dir", type=Path, help="replay the golden cases of this folder instead of a paper's own"
    )


def pytest_configure(config):
    config.golden_cases = 0
    # How long an example takes says what else the machine does, and how long JAX compiles.
    hypothesis.settings.register_profile(
        "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("any machine")


def _folder(metafunc) -> Path:
    chosen = metafunc.config.getoption("--golden-dir")
    if chosen is not None:
        return chosen
    return TESTS / _paper(metafunc.definition.path) / "golden"


def pytest_generate_tests(metafunc):
    marker = metafunc.definition.get_closest_marker("golden")
    if marker and "case" in metafunc.fixturenames:
        cases = sorted(_folder(metafunc).glob(marker.args[0]))
        metafunc.config.golden_cases += len(cases)
        metafunc.parametrize("case", cases, ids=[case.name for case in cases])


def pytest_collection_modifyitems(config, items):
    if config.getoption("-m") != "slow":
        skip = pytest.mark.skip(reason="slow: ask for it with -m slow")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(skip)


def pytest_collection_finish(session):
    config = session.config
    asked = config.getoption("--golden-dir") is not None or config.getoption("-m") == "golden"
    if asked and not config.golden_cases:
        raise pytest.UsageError("a golden run that found no case: look at --golden-dir")

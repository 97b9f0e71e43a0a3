"""Golden cases for every paper: `@pytest.mark.golden("step_*.npz")` gives a test its files as `case`."""

from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--golden-dir", type=Path, help="replay the golden cases of this folder instead of a paper's own"
    )


def pytest_configure(config):
    config.golden_cases = 0


def _folder(metafunc) -> Path:
    chosen = metafunc.config.getoption("--golden-dir")
    if chosen is not None:
        return chosen
    tests = Path(__file__).parent
    return tests / metafunc.definition.path.relative_to(tests).parts[0] / "golden"


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

"""What Stackelberg's tests share: small quick programs, compiled once; arrays of different ranks only where it is said."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(compiled_once):
    """Programs are compiled once."""

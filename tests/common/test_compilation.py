"""Quick compilation: which settings for which JAX."""

from importlib.metadata import PackageNotFoundError

import pytest

from common import compilation


@pytest.mark.parametrize(("release", "flags"), [("0.10.2", True), ("0.11.0", False), ("0.1.75", False)])
def test_flags_only_for_a_release_that_knows_them(monkeypatch, release, flags):
    monkeypatch.setattr(compilation, "version", lambda name: {"jaxlib": release}[name])
    settings = compilation.quick_settings()
    assert settings.pop("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1"
    assert list(settings) == ["XLA_FLAGS"] * flags
    assert all(flag.startswith("--xla_cpu_") for flag in settings.get("XLA_FLAGS", "").split())


def test_nothing_without_jax(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(compilation, "version", missing)
    assert compilation.quick_settings() == {}

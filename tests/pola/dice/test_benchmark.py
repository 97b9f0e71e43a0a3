"""The benchmark counts the arithmetic of compiled programs; here against products counted by hand."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

PATH = Path(__file__).resolve().parents[3] / "pola" / "benchmarks" / "dice_speed.py"


@pytest.fixture(scope="module")
def benchmark(script):
    return script(PATH)


def test_products_inside_loops_count_as_often_as_they_run(benchmark):
    def program(state, weights, end):
        def step(state, _):
            return jnp.tanh(state @ weights), None

        return jax.lax.scan(step, state, None, length=7)[0] @ end

    shapes = (20, 16), (16, 16), (16, 4)
    text = jax.jit(program).lower(*map(jnp.ones, shapes)).compile().as_text()
    assert benchmark.matrix_flops(text) == 7 * 2 * 20 * 16 * 16 + 2 * 20 * 16 * 4


def test_every_case_is_a_command(benchmark):
    for case in benchmark.CASES:
        config = benchmark.parse(case.words.split())
        assert f"B {config.batch_size}, T {config.rollout_len}, H {config.hidden_size}" in case.name

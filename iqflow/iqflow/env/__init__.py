"""The three environments (spec section 3), each a frozen dataclass of sizes and rules with pure functions.

Every environment `env` has

* ``env.n_agents`` N, ``env.n_actions`` A, ``env.observation_shape`` (of one agent), ``env.max_steps``;
* ``env.reset(key) -> (state, observations)``;
* ``env.step(key, state, actions) -> (state, observations, rewards, done, info)`` with actions int32 [N] of 0 to A - 1,
  observations float32 [N, ...], rewards float32 [N], done bool [] and `info` a NamedTuple;
* ``env.observe(state) -> observations``: a state is small (under 120 bytes in every map of the paper), so a replay buffer
  keeps states and draws the observations again when they are needed.

A state is a NamedTuple of arrays, written for one game: use `jax.vmap` for many and `jax.lax.scan` for an episode. Nothing is
reset by itself; what a step returns after ``done`` is for the caller to ignore. `done` is True at the time limit too
(spec 7.18). The environment is hashable, so it can be a static argument of a jitted function.
"""

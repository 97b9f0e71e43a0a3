"""The unrolled fit of the follower's critic and its exact second-order gradient (spec 5.3, meta update, step 2).

Forwards, K steps of RMSProp with a fixed statistic nu (spec 7.4) on the batch loss l of targets y [B, N]:

    g_k = dl/dpsi (psi_k, y),      l = mean over batch and agents of ( q_i(psi) - y_i )^2
    psi_{k+1} = psi_k - lr g_k / sqrt(0.9 nu + 0.1 g_k^2 + eps)

Backwards, from p_K = dL/dpsi_K of any objective L, k = K-1 .. 0:

    v_k = - lr p_{k+1} (0.9 nu + eps) / (0.9 nu + 0.1 g_k^2 + eps)^(3/2)          adjoint of g_k
    p_k = p_{k+1} + H_k v_k,        H_k = d^2 l / dpsi^2 (psi_k)
    dL/dy = - 2 / (B N) sum over k of J_k v_k,        J_k = dq/dpsi (psi_k)

`first_order` gives g_k, `second_order` H_k v_k and J_k v_k together, both written out (Pearlmutter 1994, "Fast exact
multiplication by the Hessian"): the same sums by automatic differentiation take up to half as long again on a CPU.
Below, a one is appended to what every layer sees, so that a layer is a single matrix, kernel above bias. The head of
agent i is entry i of the leading axis N. ReLU has no second derivative.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from iqflow.alg import optimisers
from iqflow.networks import joint_q, layers
from iqflow.networks.layers import Params

dot = layers.matmul


class Weights(NamedTuple):
    """psi with every layer as one matrix, or anything of its shape; H1, H2 hidden units, F features of a state."""

    conv: jax.Array | None  # [patch + 1, filters] on pictures
    first: jax.Array  # [N, F + N A + 1, H1]
    second: jax.Array  # [N, H1 + 1, H2]
    third: jax.Array  # [N, H2 + 1, A]


class Rows(NamedTuple):
    """A batch as the heads see it; on vectors, `inputs` [N, B, F + N A + 1] and its transpose are ready-made."""

    patches: jax.Array | None  # [B N positions, patch + 1] on pictures
    inputs: jax.Array | None
    transposed: jax.Array | None
    codes: jax.Array  # [N, B, N A + 1]: the others' actions and a one
    taken: jax.Array  # [N, B, A]: agent i's own action


class Trace(NamedTuple):
    """What `second_order` needs of a first-order pass; e_k is the error at layer k's output."""

    features: jax.Array | None  # [B, F] on pictures
    hidden_1: jax.Array  # [N, B, H1 + 1]
    hidden_2: jax.Array  # [N, B, H2 + 1]
    e_1: jax.Array  # [N, B, H1]
    e_2: jax.Array  # [N, B, H2]
    e_3: jax.Array  # [N, B, A]


def to_weights(q: Params) -> Weights:
    """Kernel above bias, layer by layer, of a joint action value or a tree like it."""
    conv = None
    if "conv" in q:
        layer = q["conv"]["Conv_0"]
        kernel = layer["kernel"].reshape(-1, layer["kernel"].shape[-1])
        conv = jnp.concatenate([kernel, layer["bias"][None]])
    heads = [q["mlp_list"][f"Dense_{k}"] for k in range(3)]
    return Weights(conv, *(jnp.concatenate([h["kernel"], h["bias"][:, None]], 1) for h in heads))


def to_params(weights: Weights, like: Params) -> Params:
    """The reverse of `to_weights`."""
    heads = {
        f"Dense_{k}": {"kernel": matrix[:, :-1], "bias": matrix[:, -1]}
        for k, matrix in enumerate(weights[1:])
    }
    if weights.conv is None:
        return {"mlp_list": heads}
    shape = like["conv"]["Conv_0"]["kernel"].shape
    return {
        "mlp_list": heads,
        "conv": {"Conv_0": {"kernel": weights.conv[:-1].reshape(shape), "bias": weights.conv[-1]}},
    }


def to_rows(batch: joint_q.Inputs, n_agents: int) -> Rows:
    """What does not change over the steps."""
    size = batch.codes.shape[0]
    others = joint_q.others_only(n_agents, batch.codes.shape[-1])
    codes = with_one(batch.codes[None] * others[:, None])
    taken = jnp.swapaxes(batch.codes.reshape(size, n_agents, -1), 0, 1)
    if batch.prepared.ndim == 4:
        patches = with_one(batch.prepared).reshape(-1, batch.prepared.shape[-1] + 1)
        return Rows(patches, None, None, codes, taken)
    inputs = seen_by_heads(layers.joined(batch.prepared), codes)
    return Rows(None, inputs, jnp.swapaxes(inputs, 1, 2), codes, taken)


def with_one(values: jax.Array) -> jax.Array:
    """[..., D] -> [..., D + 1]."""
    return jnp.concatenate([values, jnp.ones((*values.shape[:-1], 1))], -1)


def seen_by_heads(features: jax.Array, codes: jax.Array) -> jax.Array:
    """Features [B, F] and codes [N, B, C] -> [N, B, F + C]."""
    shared = jnp.broadcast_to(features[None], (codes.shape[0], *features.shape))
    return jnp.concatenate([shared, codes], -1)


def transpose(matrix: jax.Array) -> jax.Array:
    """Swap the last two axes."""
    return jnp.swapaxes(matrix, -1, -2)


def relu_mask(hidden: jax.Array, values: jax.Array) -> jax.Array:
    """`values` where a ReLU let through."""
    return jnp.where(hidden > 0, values, 0.0)


def first_order(psi: Weights, rows: Rows, targets: jax.Array) -> tuple[Weights, jax.Array, Trace]:
    """g = dl/dpsi, l, and what the second order needs; targets [N, B]."""
    features, inputs, inputs_t = None, rows.inputs, rows.transposed
    if psi.conv is not None:
        features = jax.nn.relu(dot(rows.patches, psi.conv)).reshape(targets.shape[1], -1)
        inputs = seen_by_heads(features, rows.codes)
        inputs_t = transpose(inputs)
    hidden_1 = with_one(jax.nn.relu(dot(inputs, psi.first)))
    hidden_2 = with_one(jax.nn.relu(dot(hidden_1, psi.second)))
    error = jnp.sum(dot(hidden_2, psi.third) * rows.taken, -1) - targets

    e_3 = (2.0 / error.size) * error[..., None] * rows.taken
    e_2 = relu_mask(hidden_2[..., :-1], dot(e_3, transpose(psi.third[:, :-1])))
    e_1 = relu_mask(hidden_1[..., :-1], dot(e_2, transpose(psi.second[:, :-1])))
    conv = None
    if psi.conv is not None:
        e_0 = relu_mask(features, jnp.sum(dot(e_1, transpose(features_part(psi.first, features))), 0))
        conv = dot(rows.patches.T, e_0.reshape(-1, psi.conv.shape[-1]))
    gradient = Weights(conv, dot(inputs_t, e_1), dot(transpose(hidden_1), e_2), dot(transpose(hidden_2), e_3))
    return gradient, jnp.mean(jnp.square(error)), Trace(features, hidden_1, hidden_2, e_1, e_2, e_3)


def second_order(psi: Weights, v: Weights, rows: Rows, trace: Trace) -> tuple[Weights, jax.Array]:
    """H v and J v [N, B]: the derivative of `first_order` along v. `h_k`, `d_k` are those of `hidden_k`, `e_k`."""
    features, inputs, inputs_t = trace.features, rows.inputs, rows.transposed
    hidden_1, hidden_2 = trace.hidden_1[..., :-1], trace.hidden_2[..., :-1]
    if psi.conv is not None:
        inputs = seen_by_heads(features, rows.codes)
        inputs_t = transpose(inputs)
    moved = dot(inputs, v.first)
    if psi.conv is not None:
        h_0 = relu_mask(features, dot(rows.patches, v.conv).reshape(features.shape))
        moved = moved + dot(h_0[None], features_part(psi.first, features))
    h_1 = relu_mask(hidden_1, moved)
    h_2 = relu_mask(hidden_2, dot(h_1, psi.second[:, :-1]) + dot(trace.hidden_1, v.second))
    q = jnp.sum((dot(h_2, psi.third[:, :-1]) + dot(trace.hidden_2, v.third)) * rows.taken, -1)

    d_3 = (2.0 / q.size) * q[..., None] * rows.taken
    back_2 = dot(d_3, transpose(psi.third[:, :-1])) + dot(trace.e_3, transpose(v.third[:, :-1]))
    d_2 = relu_mask(hidden_2, back_2)
    back_1 = dot(d_2, transpose(psi.second[:, :-1])) + dot(trace.e_2, transpose(v.second[:, :-1]))
    d_1 = relu_mask(hidden_1, back_1)
    first, conv = dot(inputs_t, d_1), None
    if psi.conv is not None:
        kernel, kernel_v = (features_part(matrix, features) for matrix in (psi.first, v.first))
        back_0 = jnp.sum(dot(d_1, transpose(kernel)) + dot(trace.e_1, transpose(kernel_v)), 0)
        conv = dot(rows.patches.T, relu_mask(features, back_0).reshape(-1, psi.conv.shape[-1]))
        first = first.at[:, : features.shape[-1]].add(dot(h_0.T[None], trace.e_1))
    second = dot(transpose(trace.hidden_1), d_2).at[:, :-1].add(dot(transpose(h_1), trace.e_2))
    third = dot(transpose(trace.hidden_2), d_3).at[:, :-1].add(dot(transpose(h_2), trace.e_3))
    return Weights(conv, first, second, third), q


def features_part(first: jax.Array, features: jax.Array) -> jax.Array:
    """The rows of the first layer that see features [B, F]: [N, F, H1]."""
    return first[:, : features.shape[-1]]


def fit(
    q: Params, nu: Params, batch: joint_q.Inputs, targets: jax.Array, learning_rate: float, steps: int
) -> tuple[Params, jax.Array]:
    """psi_K and the losses l(psi_k) [K], differentiable in `q` and `targets` [B, N], not in `nu` and `batch`.

    Args:
        q: psi_0; nu: the second moments that all steps use, shaped like `q`.
    """
    start, statistic, rows = to_weights(q), to_weights(nu), to_rows(batch, targets.shape[1])
    fixed = lax.stop_gradient((statistic, rows))
    weights, losses = _unrolled(learning_rate, steps)(start, targets.T, *fixed)
    return to_params(weights, q), lax.stop_gradient(losses)


def _unrolled(learning_rate: float, steps: int):
    """(psi_0, targets, nu, rows) -> (psi_K, losses) with the gradient at the head of this module."""

    def forwards(psi, targets, nu, rows):
        def step(psi, _):
            gradient, loss, trace = first_order(psi, rows, targets)
            moved = optimisers.frozen_rmsprop_step(psi, gradient, nu, learning_rate)
            return moved, (loss, psi, gradient, trace)

        # DEVIATION(Q21): a scan; the original traces the steps one by one, which compiles for minutes
        psi, (losses, *passed) = lax.scan(step, psi, None, length=steps)
        return psi, losses, passed

    def backwards(p, targets, nu, rows, passed):
        def step(carry, passed_k):
            p, by_targets = carry
            psi, gradient, trace = passed_k
            v = optimisers.frozen_rmsprop_adjoint(p, gradient, nu, learning_rate)
            curvature, along_v = second_order(psi, v, rows, trace)
            p = jax.tree.map(jnp.add, p, curvature)
            return (p, by_targets - (2.0 / targets.size) * along_v), None

        (p, by_targets), _ = lax.scan(step, (p, jnp.zeros_like(targets)), passed, reverse=True)
        return p, by_targets

    @jax.custom_vjp
    def unrolled(psi, targets, nu, rows):
        return keep(psi, targets, nu, rows)[0]

    def keep(psi, targets, nu, rows):
        psi, losses, passed = forwards(psi, targets, nu, rows)
        return (psi, losses), (targets, nu, rows, passed)

    def pull_back(kept, cotangents):
        targets, nu, rows, passed = kept
        p, _ = cotangents
        p, by_targets = backwards(p, targets, nu, rows, passed)
        return p, by_targets, *jax.tree.map(jnp.zeros_like, (nu, rows))

    unrolled.defvjp(keep, pull_back)
    return unrolled

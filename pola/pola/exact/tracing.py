"""Record a tensor function once, then replay it as a flat list of operations.

The exact games are tiny tensors in long loops: almost all time goes into Python, autograd and functorch, not into
arithmetic. A function of fixed shapes that always does the same (here: one iteration, its derivatives taken with
``torch.func``) is therefore run once while its ATen operations are recorded, tidied up and written out as straight-line
Python without any of that. No compiler is needed, and replays are bit for bit the same as each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten

# The same kernels through PyTorch's own argument parser, which costs half as much as an OpOverload call.
_QUICK = {
    aten.add.Tensor: torch.add,
    aten.sub.Tensor: torch.sub,
    aten.mul.Tensor: torch.mul,
    aten.div.Tensor: torch.div,
    aten.neg.default: torch.neg,
    aten.sum.dim_IntList: torch.sum,
    aten.cat.default: torch.cat,
    aten.stack.default: torch.stack,
    aten.select.int: torch.select,
    aten.unsqueeze.default: torch.unsqueeze,
    aten.addcmul.default: torch.addcmul,
    aten.sigmoid.default: torch.sigmoid,
    aten.tanh.default: torch.tanh,
    aten.exp.default: torch.exp,
    aten.expm1.default: torch.expm1,
    aten.log1p.default: torch.log1p,
    aten.maximum.default: torch.maximum,
    aten.minimum.default: torch.minimum,
    aten.ge.Scalar: torch.ge,
    aten.rsub.Scalar: torch.rsub,
    aten.linalg_cross.default: torch.linalg.cross,
    aten.transpose.int: torch.transpose,
    aten.square.default: torch.square,
    aten.sqrt.default: torch.sqrt,
}


@dataclass(frozen=True)
class Ref:
    """Stands for a tensor in the arguments of a recorded operation."""

    index: int


@dataclass
class Step:
    """One recorded operation: results `out` = function(*args, **kwargs), tensors replaced by `Ref`."""

    function: Callable
    args: tuple
    kwargs: dict
    out: list[int | None]
    single: bool

    def inputs(self) -> list[int]:
        return [leaf.index for leaf in tree_flatten((self.args, self.kwargs))[0] if isinstance(leaf, Ref)]


class _Recorder(TorchDispatchMode):
    """Collects every operation that reaches the backend, below autograd and functorch."""

    def __init__(self):
        super().__init__()
        self.steps: list[Step] = []
        self.tensors: list[Tensor] = []  # keeps them alive, so that ids stay unique
        self.index: dict[int, int] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled; the default would load PyTorch's whole compiler, which takes longer than a run."""
        return False

    def number(self, tensor: Tensor) -> int:
        if id(tensor) not in self.index:
            self.index[id(tensor)] = len(self.tensors)
            self.tensors.append(tensor)
        return self.index[id(tensor)]

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function._schema.is_mutable:
            raise NotImplementedError(f"{function} changes a tensor in place; write the function without it")
        refs = tree_map(
            lambda leaf: Ref(self.number(leaf)) if isinstance(leaf, Tensor) else leaf, (args, kwargs)
        )
        result = function(*args, **kwargs)
        single = isinstance(result, Tensor)
        if function is aten.detach.default or function is aten.alias.default:
            self.tensors.append(result)
            self.index[id(result)] = refs[0][0].index
            return result
        out = [self.number(r) if isinstance(r, Tensor) else None for r in ([result] if single else result)]
        self.steps.append(Step(function, refs[0], refs[1], out, single))
        return result


class Traced:
    """A recorded function, split in what depends only on the constants of a loop and what changes in it.

    Attributes:
        operations: number of operations of one replay (views included).
    """

    def __init__(self, function: Callable, varying: Sequence[Tensor], fixed: Sequence[Tensor]):
        """Record ``function(varying, fixed) -> tensors`` at the shapes and dtypes of the given example tensors."""
        with torch.inference_mode(False), torch.enable_grad():
            varying, fixed = [t.detach().clone() for t in varying], [t.detach().clone() for t in fixed]
            recorder = _Recorder()
            for tensor in (*varying, *fixed):
                recorder.number(tensor)
            with recorder:
                outputs = function(varying, fixed)
        self._n_varying, self._n_fixed = len(varying), len(fixed)
        results = [recorder.number(t) for t in outputs]
        steps, results, constants = _tidy(recorder, results, len(varying) + len(fixed))
        changing = set(range(len(varying)))
        once, body = [], []
        for step in steps:
            moves = any(i in changing for i in step.inputs())
            (body if moves else once).append(step)
            if moves:
                changing.update(o for o in step.out if o is not None)
        self.operations = len(body)
        made = {o for step in once for o in step.out} | set(range(len(varying), len(varying) + len(fixed)))
        needed = {i for step in body for i in step.inputs()} | set(results)
        self._hoisted = sorted(made & needed)
        self._constants = constants
        inputs = list(range(len(varying), len(varying) + len(fixed)))
        self._prepare = _write(once, inputs, self._hoisted, constants)
        self._body = _write(body, list(range(len(varying))) + self._hoisted, results, constants)

    def bind(self, fixed: Sequence[Tensor]) -> Callable[..., tuple[Tensor, ...]]:
        """Work out everything that does not change in the loop; returns ``replay(*varying) -> tensors``."""
        with torch.inference_mode():
            hoisted = self._prepare(*fixed)
        body = self._body

        def replay(*varying: Tensor) -> tuple[Tensor, ...]:
            return body(*varying, *hoisted)

        return replay


def _tidy(
    recorder: _Recorder, results: list[int], n_inputs: int
) -> tuple[list[Step], list[int], dict[int, Tensor]]:
    """Fold constants, drop repeated and unused operations and products with ones."""
    known = set(range(n_inputs))  # depends on an input
    alias: dict[int, int] = {}
    seen: dict[Any, list[int | None]] = {}
    kept: list[Step] = []
    for step in recorder.steps:
        rename = lambda leaf: Ref(alias.get(leaf.index, leaf.index)) if isinstance(leaf, Ref) else leaf  # noqa: E731
        args, kwargs = tree_map(rename, (step.args, step.kwargs))
        step = Step(step.function, args, kwargs, step.out, step.single)
        shape_only = step.function in (aten.ones_like.default, aten.zeros_like.default)
        if shape_only or not any(i in known for i in step.inputs()):
            continue  # its value was worked out while recording
        known.update(o for o in step.out if o is not None)
        same = _unchanged_by(step, recorder.tensors, known)
        if same is not None:
            alias[step.out[0]] = same
            continue
        key = (step.function, repr((args, sorted(kwargs.items()))))
        if key in seen:
            alias.update((new, old) for new, old in zip(step.out, seen[key], strict=True) if new is not None)
            continue
        seen[key] = step.out
        kept.append(step)
    results = [alias.get(r, r) for r in results]
    live, steps = set(results), []
    for step in reversed(kept):
        if any(o in live for o in step.out):
            live.update(step.inputs())
            steps.append(step)
    constants = {i: recorder.tensors[i] for i in live if i not in known}
    return steps[::-1], results, constants


def _unchanged_by(step: Step, tensors: list[Tensor], known: set[int]) -> int | None:
    """The input that a product with ones of the same shape hands on, or None."""
    if step.function is not aten.mul.Tensor or not all(isinstance(a, Ref) for a in step.args):
        return None
    for value, factor in (step.args, step.args[::-1]):
        ones = factor.index not in known and bool((tensors[factor.index] == 1).all())
        if ones and tensors[value.index].shape == tensors[step.out[0]].shape:
            return value.index
    return None


def _write(
    steps: list[Step], inputs: list[int], results: list[int], constants: dict[int, Tensor]
) -> Callable:
    """Compile steps into a Python function; local names are reused, so memory is freed as soon as it can be."""
    last_use = {i: position for position, step in enumerate(steps) for i in step.inputs()}
    last_use.update((r, len(steps)) for r in results)
    scope: dict[str, Any] = {f"c{i}": tensor for i, tensor in constants.items()}
    names: dict[int, str] = {i: f"c{i}" for i in constants} | {i: f"i{k}" for k, i in enumerate(inputs)}
    free: list[str] = []
    lines = []
    for position, step in enumerate(steps):
        function, args, kwargs = _spell(step)
        scope[f"f{position}"] = function
        text = [_literal(a, names, scope) for a in args]
        text += [f"{k}={_literal(v, names, scope)}" for k, v in kwargs.items()]
        dying = [i for i in set(step.inputs()) if last_use[i] == position and names[i].startswith("v")]
        free.extend(names[i] for i in dying)
        targets = []
        for out in step.out:
            if out is None or out not in last_use:
                targets.append("_")
                continue
            names[out] = free.pop() if free else f"v{len(names)}"
            targets.append(names[out])
        left = targets[0] if step.single else ", ".join(targets)
        lines.append(f"    {left} = f{position}({', '.join(text)})")
    signature = ", ".join(f"i{k}" for k in range(len(inputs)))
    returned = ", ".join(names[r] for r in results)
    bound = ", ".join(f"{name}={name}" for name in scope)
    source = f"def replay({signature}{', *, ' + bound if bound else ''}):\n"
    source += "\n".join([*lines, f"    return ({returned}{',' if results else ''})"])
    exec(compile(source, "<traced>", "exec"), scope)  # noqa: S102 - our own text
    return scope["replay"]


def _spell(step: Step) -> tuple[Callable, list, dict]:
    """The quickest call with the same meaning."""
    args = list(step.args)
    kwargs = {k: v for k, v in step.kwargs.items() if v is not None}
    if step.function is aten.slice.Tensor and len(args) == 4 and args[2] >= 0:
        tensor, dim, start, stop = args
        if stop < 2**62 and stop >= start:
            return torch.narrow, [tensor, dim, start, stop - start], {}
    return _QUICK.get(step.function, step.function), args, kwargs


def _literal(value: Any, names: dict[int, str], scope: dict[str, Any]) -> str:
    if isinstance(value, Ref):
        return names[value.index]
    if isinstance(value, (list, tuple)):
        inside = ", ".join(_literal(v, names, scope) for v in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside},)"
    if (
        value is None
        or isinstance(value, (bool, int, str))
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return repr(value)
    name = f"k{len(scope)}"  # a dtype, a device, an infinity
    scope[name] = value
    return name

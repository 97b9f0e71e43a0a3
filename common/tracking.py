"""wandb, if asked for: a mirror of the local log that can fail without anybody noticing but its reader."""

from __future__ import annotations

import netrc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from common.cli import UserError
from common.runs import RunFolder

#: seconds that the end of a run waits for uploads; what is late stays on the disk, where `wandb sync` finds it
FINISH_SECONDS = 60.0
MODES = ("online", "offline", "disabled")


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def chosen_mode(asked: str = "disabled") -> str:
    """``online``, ``offline`` or ``disabled``, settled before a run starts.

    The variable WANDB_MODE has the last word over `asked`, the mode that the command itself names. Online without a
    key falls to offline, said in one line on stderr.

    Raises:
        UserError: WANDB_MODE has another value.
    """
    mode = os.environ.get("WANDB_MODE") or asked
    if mode not in MODES:
        raise UserError(f"WANDB_MODE is {mode!r}; it can be online, offline or disabled")
    if mode == "online" and not _has_key():
        print(
            "wandb: no key found, so this run is logged offline (wandb sync uploads it later)",
            file=sys.stderr,
        )
        return "offline"
    return mode


@contextmanager
def mirrored(
    run: RunFolder,
    mode: str,
    log: Callable[[Any, Mapping[str, Any]], None] = lambda mirror, row: mirror.log(dict(row)),
    **options: Any,
) -> Iterator[None]:
    """Mirror every row that `run` logs inside the block to wandb; the run itself never depends on it.

    The mirror is finished with the block, so that the same run can go on in the same process (as failed when the
    block raises).

    Args:
        mode: one of `MODES`, from `chosen_mode`.
        log: sends a row to wandb's run.
        options: of ``wandb.init``: project, group, tags, ...
    Raises:
        UserError: wandb is not installed.
    """
    mirror = None if mode == "disabled" else _start(run, mode, options)
    if mirror is None:
        yield
        return
    run.mirror, exit_code = _guarded(lambda row: log(mirror, row)), 1
    try:
        yield
        exit_code = 0
    finally:
        run.mirror = None
        try:
            mirror.finish(exit_code=exit_code)
        except Exception as error:  # whatever wandb throws, the run is as good as it was
            _warn(error)


def _start(run: RunFolder, mode: str, options: Mapping[str, Any]) -> Any:
    """wandb's own run, or None when it can't start."""
    try:
        import wandb
    except ImportError:
        raise UserError(
            "wandb is asked for but not installed; install it or set WANDB_MODE=disabled"
        ) from None
    settings = wandb.Settings(silent=True, console="off", init_timeout=30, finish_timeout=FINISH_SECONDS)
    usual = {
        "id": run.path.name,  # the name of one run survives a resume, so the mirror goes on in the same place
        "resume": "allow",
        "reinit": "create_new",  # the seeds of one process are runs side by side
        "dir": run.path,
        "config": run.config,
    }
    try:
        return wandb.init(mode=mode, settings=settings, **(usual | options))
    except Exception as error:  # whatever wandb throws, training goes on
        _warn(error)
        return None


def _guarded(send: Callable[[Mapping[str, Any]], None]) -> Callable[[Mapping[str, Any]], None]:
    healthy = True

    def mirror(row: Mapping[str, Any]) -> None:
        nonlocal healthy
        if healthy:
            try:
                send(row)
            except Exception as error:  # whatever wandb throws, training goes on
                healthy = False
                _warn(error)

    return mirror


def _warn(error: Exception) -> None:
    print(f"wandb: {type(error).__name__}, no longer mirrored; metrics.jsonl has everything", file=sys.stderr)

"""The Coin Game league: `main` plays it, `merge` joins parts of it, `test_trained_agent_loader` probes one agent."""

import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import run_main
from loqa.league.config import PROGRAM, League, Merge, parse


def body(argv: Sequence[str] | None = None) -> int:
    """Flags to configuration, configuration to games."""
    config = parse(argv)
    from loqa.league import probe, program  # a wrong flag is answered without waiting for JAX

    if isinstance(config, League):
        return program.run_main(config)
    return program.run_merge(config) if isinstance(config, Merge) else probe.run(config, Path(__file__))


if __name__ == "__main__":
    sys.exit(run_main(body, program=PROGRAM))

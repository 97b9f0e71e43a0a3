"""The programs that POLA's figures run: each turns its command line into a configuration without running anything."""

from pola.dice.config import parse as parse_dice
from pola.exact.config import parse as parse_exact
from pola.exact.grid_config import parse as parse_grid

PROGRAMS = {
    "LOLA_exact.py": parse_exact,
    "lola_preconditioned_grid.py": parse_grid,
    "jax_files/POLA_dice_jax.py": parse_dice,
}

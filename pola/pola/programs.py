"""The programs that POLA's figures run: each turns its command line into a configuration without running anything."""

from pola.dice.config import parse as parse_dice
from pola.exact.config import parse as parse_exact

PROGRAMS = {
    "LOLA_exact.py": parse_exact,
    "jax_files/POLA_dice_jax.py": parse_dice,
}

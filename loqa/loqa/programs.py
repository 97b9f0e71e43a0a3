"""The programs that LOQA's figures run: each turns its command line into a configuration without running anything."""

from loqa.coin.config import parse as parse_coin
from loqa.ipd.config import parse as parse_ipd

# DEVIATION(Q24): what the original's missing list of requirements should have said is in pyproject.toml and the locks
PROGRAMS = {
    "ipd.py": parse_ipd,
    "coin_train.py": parse_coin,
}

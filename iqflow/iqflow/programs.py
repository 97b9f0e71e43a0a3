"""The programs that IQ-Flow's figures run: each turns its command line into a configuration without running anything."""

from iqflow.config import loading
from iqflow.transfer import settings

PROGRAMS = {
    "iqflow/trainer/train_multiprocess.py": loading.parse,
    "iqflow/trainer/transfer.py": settings.parse,
}

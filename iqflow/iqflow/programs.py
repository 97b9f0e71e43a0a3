"""The programs that IQ-Flow's figures run: each turns its command line into a configuration without running anything."""

from iqflow.config.loading import parse

PROGRAMS = {"iqflow/trainer/train_multiprocess.py": parse}

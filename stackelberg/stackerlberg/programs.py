"""The program that the figures run: it turns its command line into a configuration without running anything."""

from stackerlberg.launch import SCRIPT, parse

PROGRAMS = {SCRIPT: parse}

"""The program that the figures run: it turns its command line into a configuration without running anything."""

from tournament.config import PROGRAM, parse

PROGRAMS = {PROGRAM: parse}

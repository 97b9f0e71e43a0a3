"""Cleanup: apples grow while a polluted river is kept clean, which pays nothing (spec 3.3).

`maps` reads maps, `movement` settles who may go where, `rules` holds the rest of a step, `drawing` the pictures that the
agents see, `environment` puts them together.
"""

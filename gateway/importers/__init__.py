"""Import of points from tables and from configurations of other programs.

One file for each format. Each returns machines (`found.Import`) and notes, with their lines, for the parts that it
can't translate. `build` turns machines into valid templates and a valid factory. `formats` detects the format.
"""

"""Import of points from tables and from configurations of other programs.

One file for each format, with one `base.Format`; `formats` lists them and recognises the format of a file. `content`
is a file as bytes, text, JSON, XML or a table, bounded. Each format returns machines (`found.Import`) and notes, with
their places, for the parts that it can't translate. `build` turns machines into valid templates and a valid factory.
"""

"""Points that stand elsewhere already, in tables and in configurations of other programs, as machines of ours.

A file a format. Each finds machines (`found.Import`) and notes what it can't translate, with its line; `build` turns
machines into templates and a factory, of which every part is right. Which format a file has, `formats` tells.
"""

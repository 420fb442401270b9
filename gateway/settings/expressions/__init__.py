"""The expressions of derived points: a subset of CEL (Common Expression Language), with functions for plants.

`parse` reads the text, `check` finds types and units, `compile_program` makes Python functions of the result.
docs/derived-points.md describes the language.
"""

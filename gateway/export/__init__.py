"""Stored readings as Parquet files, for pandas, Polars, DuckDB and all who read Parquet.

`parquet.py` has the columns, `folder.py` a folder with a file for each machine and day. It needs the extra `parquet`.
"""

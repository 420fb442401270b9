"""Settings as YAML 1.2 again."""

from __future__ import annotations

from typing import Any

import yaml

from gateway.settings.document import is_text


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 would not read as text: PyYAML quotes what YAML 1.1 would not."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_text(text) else "'")


_Dumper.add_representer(str, _text)


def dump(data: Any, *, flow: bool = False) -> str:  # noqa: ANN401 - any plain data
    """Return plain data as YAML; `flow` is for one line, as it stands in a cell of a table."""
    if flow:
        text: str = yaml.dump(
            data, Dumper=_Dumper, allow_unicode=True, default_flow_style=True, width=2**30, sort_keys=False
        )
        return text.removesuffix("\n").removesuffix("\n...")
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=118)

"""Changes in the text of a YAML file: a key is added to a mapping, or replaced, and all other characters stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MARK = "\ufeff"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Value = str | dict[str, "Value"]
"""A value that is added: its text in one line, or a mapping in block style."""


class YamlText:
    """The text of a file. Changes are collected, and made by `apply`."""

    def __init__(self, file: Path, text: str | None = None) -> None:
        """Read a file, or use its text. Raises `OSError` and `ValueError`."""
        self._file = file
        whole = file.read_bytes().decode() if text is None else text
        self._text = whole.removeprefix(_MARK)
        self._mark = whole[: len(whole) - len(self._text)]
        self._edits: list[tuple[int, int, str]] = []
        self._root = self._compose()

    @property
    def text(self) -> str:
        """The text with all changes."""
        self.apply()
        return self._mark + self._text

    def apply(self) -> None:
        """Make the changes that were collected."""
        if not self._edits:
            return
        # from the end to the start, so that positions stay; additions at one place, too
        in_order = sorted(enumerate(self._edits), key=lambda edit: (edit[1][0], edit[0]), reverse=True)
        for _, (begin, end, new) in in_order:
            self._text = self._text[:begin] + new + self._text[end:]
        self._edits.clear()
        self._root = self._compose()

    def add(self, path: Sequence[str], key: str, value: Value) -> None:
        """Add a key at the end of a mapping. Raises `ValueError` where there is no mapping."""
        mapping = self._value(path)
        if not isinstance(mapping, yaml.MappingNode):
            raise ValueError(f"{self._file}: {'.'.join(path)} is not a mapping")  # noqa: TRY004 - of a user's file
        if mapping.flow_style:
            inner = self._flow(value)
            if mapping.value:
                at = self._end(mapping.value[-1][1])
                self._edits.append((at, at, f", {key}: {inner}"))
            else:
                at = mapping.end_mark.index - 1
                self._edits.append((at, at, f"{key}: {inner}"))
            return
        column = mapping.value[0][0].start_mark.column
        at = self._line_end(self._end(mapping.value[-1][1]))
        line_feed = "\r\n" if "\r\n" in self._text else "\n"
        lines = [f"{' ' * column}{line}" for line in _block(key, value)]
        ended = at == 0 or self._text[at - 1] == "\n" or any(begin == at for begin, _, _ in self._edits)
        before = "" if ended else line_feed
        self._edits.append((at, at, before + "".join(line + line_feed for line in lines)))

    def replace(self, path: Sequence[str], key: str, value: str) -> None:
        """Replace the value of a key by a text in one line. Raises `ValueError` where there is no such key."""
        mapping = self._value(path[:-1])
        for name, old in mapping.value if isinstance(mapping, yaml.MappingNode) else ():
            if name.value == path[-1]:
                begin, end = name.end_mark.index, self._end(old)
                self._edits.append((begin, end, f": {value}"))
                return
        raise ValueError(f"{self._file}: {key} is not written in {'.'.join(path[:-1])}")

    def _value(self, path: Sequence[str]) -> yaml.Node | None:
        node = self._root
        for step in path:
            if not isinstance(node, yaml.MappingNode):
                return None
            node = next((value for name, value in node.value if name.value == step), None)
        return node

    def _compose(self) -> yaml.Node | None:
        try:
            return yaml.compose(self._text, Loader=_Loader)
        except yaml.YAMLError as error:
            raise ValueError(f"{self._file}: is not YAML: {str(error).splitlines()[0]}") from None

    def _end(self, node: yaml.Node) -> int:
        """Return the position behind a value, before the comment or the blanks after it."""
        if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            last = node.value[-1]
            return self._end(last[1] if isinstance(last, tuple) else last)
        return int(node.end_mark.index)

    def _line_end(self, position: int) -> int:
        """Return the position of the next line, unless one begins at the position."""
        if position and self._text[position - 1] == "\n":
            return position
        found = self._text.find("\n", position)
        return len(self._text) if found < 0 else found + 1

    def _flow(self, value: Value) -> str:
        if isinstance(value, str):
            return value
        return "{" + ", ".join(f"{key}: {self._flow(inner)}" for key, inner in value.items()) + "}"


def _block(key: str, value: Value) -> list[str]:
    """Return the lines of a key with its value, in block style."""
    if isinstance(value, str):
        return [f"{key}: {value}"]
    return [f"{key}:", *(f"  {line}" for inner, its in value.items() for line in _block(inner, its))]

"""Tag tables and data blocks of TIA Portal as XML: the export of Openness, and that of the tag table editor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.importers.base import Format
from gateway.importers.tia_tags import Tag, read_tags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.importers.content import Content
    from gateway.importers.found import Import, Options
    from gateway.importers.xml_tree import Element

BLOCKS = ("SW.Blocks.GlobalDB", "SW.Blocks.InstanceDB", "SW.Blocks.ArrayDB")
TAG = "SW.Tags.PlcTag"


def read(content: Content, options: Options) -> Import:
    """Return the machine of tables and blocks. Raises `ValueError` without the address of its OPC UA server."""
    root = content.xml
    return read_tags(_of_editor(root) if root.tag == "Tagtable" else _of_openness(root), options)


def _of_editor(root: Element) -> Iterator[Tag]:
    for element in root:
        name = (element.text or "").strip()
        if element.tag == "Tag" and name:
            accessible = element.get("hmiAccessible", "True").lower() != "false"
            yield Tag(
                element.line, (name,), element.get("type", ""), element.get("remark", ""), accessible,
                element.get("addr", ""),
            )  # fmt: skip


def _of_openness(root: Element) -> Iterator[Tag]:
    for element in root.iter():
        if element.tag == TAG:
            attributes = {child.tag: child.text or "" for child in element.find("AttributeList") or ()}
            accessible = attributes.get("ExternalAccessible", "true").lower() != "false"
            comment = next((text.text for text in element.iter("Text") if text.text), "")
            yield Tag(
                element.line, (attributes.get("Name", ""),), attributes.get("DataTypeName", ""), comment or "",
                accessible, attributes.get("LogicalAddress", ""),
            )  # fmt: skip
        elif element.tag in BLOCKS:
            yield from _of_block(element)


def _of_block(block: Element) -> Iterator[Tag]:
    name = block.findtext("AttributeList/Name", "")
    for section in block.iter():
        if _local(section) == "Section" and section.get("Name") in {"Static", "Input", "Output", "InOut"}:
            for member in section:
                if _local(member) == "Member":
                    yield from _of_member(member, (name,), accessible=True)
            if section.get("Name") == "Static":
                return


def _of_member(member: Element, above: tuple[str, ...], *, accessible: bool) -> Iterator[Tag]:
    """Yield the tags of a member: itself, or those of a structure, of its own or of a type."""
    names = (*above, member.get("Name", ""))
    comment = ""
    inner: list[Element] = []
    for child in member:
        kind = _local(child)
        if kind == "AttributeList":
            flags = {one.get("Name"): (one.text or "").lower() for one in child}
            accessible = accessible and flags.get("ExternalAccessible") != "false"
        elif kind == "Comment":
            comment = next((text.text or "" for text in child), "")
        elif kind == "Member":
            inner.append(child)
        elif kind == "Sections":
            inner += [one for section in child for one in section]
    if not inner or member.get("Datatype", "").lower().startswith("array"):
        yield Tag(member.line, names, member.get("Datatype", ""), comment, accessible)
        return
    for one in inner:
        if _local(one) == "Member":
            yield from _of_member(one, names, accessible=accessible)


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _recognise(content: Content) -> bool:
    if content.start != "<" or not any(mark in content.text for mark in ("<Tagtable", "SW.Tags.", "SW.Blocks.")):
        return False
    root = content.xml
    return root.tag == "Tagtable" or any(one.tag in {*BLOCKS, TAG} for one in root.iter())


FORMAT = Format("tia-xml", "tag table or data block of TIA Portal (XML)", _recognise, read)

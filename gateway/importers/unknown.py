"""Files that can't be imported: their kinds, and the export that can be imported in place of each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gateway.importers.content import Content

_TIA = "export the tag table (PLC tags, Show all tags, Export) as xlsx"
_DESIGNER = "export the tags as JSON from the tag browser of the Designer"
_COPY = "copy the register table into a spreadsheet, and save it as CSV or xlsx"
_SAVE = "save it as xlsx or CSV"
_AS_CSV = "save the table as CSV or xlsx"
_LOGIX = "it has no Modbus or OPC UA addresses; browse the controller's OPC UA server with lineside browse"
_NODES = "browse the controller's OPC UA server with lineside browse, or export the variables as CSV"


class Known(NamedTuple):
    """A kind of file that can't be imported, and what to do."""

    title: str
    advice: str


_SUFFIXES: tuple[tuple[str, Known], ...] = (
    (r"\.zap\d+", Known("a TIA Portal project archive ({suffix})", _TIA)),
    (r"\.ap\d+", Known("a TIA Portal project ({suffix})", _TIA)),
    (r"\.(zal|al)\d+", Known("a TIA Portal library ({suffix})", _TIA)),
    (r"\.(s7p|s7l)", Known("a STEP 7 project ({suffix})", "write its registers as CSV")),
    (r"\.(awl|scl|udt)", Known("a source of STEP 7 or TIA Portal ({suffix})", _TIA)),
    (r"\.s?opf", Known("a Kepware project in its binary form ({suffix})", "save it as JSON (File, Save As, .json)")),
    (r"\.gwbk", Known("a gateway backup of Ignition (.gwbk)", _DESIGNER)),
    (r"\.(acd|l5k)", Known("a project of RSLogix 5000 or Studio 5000 ({suffix})", _LOGIX)),
    (r"\.rss", Known("a project of RSLogix 500 (.rss)", "write the registers as CSV")),
    (r"\.(project|projectarchive|pro|precompilecache)", Known("a Codesys project ({suffix})", _NODES)),
    (r"\.(tnzip|tszip|tsproj|tpy|tmc)", Known("a TwinCAT file ({suffix})", _NODES)),
    (r"\.(stu|sta|zef|xef|smbp)", Known("a project of Schneider ({suffix})", "export the variables as CSV")),
    (r"\.(gx3|gxw|gppw)", Known("a project of GX Works ({suffix})", "export the global labels as CSV")),
    (r"\.(cxp|smc2)", Known("a project of Omron ({suffix})", "export the global variables as CSV")),
    (r"\.xlsb", Known("a binary workbook of Excel (.xlsb)", "save it as xlsx")),
    (r"\.ods", Known("a spreadsheet of LibreOffice (.ods)", _SAVE)),
    (r"\.(mdb|accdb)", Known("a database of Access ({suffix})", _AS_CSV)),
)  # fmt: skip
"""Kinds by their suffix, for files whose content nothing recognised."""

_MAGIC: tuple[tuple[bytes, Known], ...] = (
    (b"%PDF", Known("a PDF", _COPY)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Known("an Excel .xls, or another old Office file", _SAVE)),
    (b"SQLite format 3\x00", Known("a SQLite database", _AS_CSV)),
    (b"\x1f\x8b", Known("a gzip archive", "unpack it")),
    (b"7z\xbc\xaf\x27\x1c", Known("a 7-Zip archive", "unpack it")),
    (b"Rar!", Known("a RAR archive", "unpack it")),
    (b"\x89PNG", Known("a picture", "write the registers as CSV")),
    (b"\xff\xd8\xff", Known("a picture", "write the registers as CSV")),
    (b"\xd4\xc3\xb2\xa1", Known("a network capture", "write the registers as CSV")),
    (b"\n\r\r\n", Known("a network capture", "write the registers as CSV")),
    (b"\x7fELF", Known("a program", "import its configuration")),
    (b"MZ", Known("a program", "import its configuration")),
    (b"{\\rtf", Known("a document (RTF)", _COPY)),
)  # fmt: skip

_PARTS: tuple[tuple[str, Known], ...] = (
    (r"xl/workbook\.bin", Known("a binary workbook of Excel (.xlsb)", "save it as xlsx")),
    (r"word/document\.xml", Known("a document of Word", _COPY)),
    (r"ppt/.*", Known("a presentation", "write the registers as CSV")),
    (r"content\.xml", Known("a spreadsheet of LibreOffice (.ods)", _SAVE)),
    (r"db_backup_sqlite\.idb", Known("a gateway backup of Ignition", _DESIGNER)),
    (r"(.*/)?[^/]+\.ap\d+|(.*/)?PEData\.plf", Known("a TIA Portal project archive", _TIA)),
    (r".*", Known("a ZIP archive", "unpack it, and import the file in it")),
)  # fmt: skip
"""Kinds of ZIP archives by a name in them."""

_ROOTS = {
    "RSLogix5000Content": Known("an RSLogix 5000 L5X", _LOGIX),
    "ExportFile": Known("a Codesys export", _NODES),
    "Symbolconfiguration": Known("a Codesys symbol configuration", _NODES),
    "project": Known("a project in PLCopen XML, as of Codesys", _NODES),
    "TcModuleClass": Known("a TwinCAT module description (.tmc)", _NODES),
    "PlcProjectInfo": Known("a TwinCAT project description (.tpy)", _NODES),
    "TcSmProject": Known("a TwinCAT project", _NODES),
    "FEFExchangeFile": Known("a project of Schneider Control Expert", "export the variables as CSV"),
    "VariablesExchangeFile": Known("variables of Schneider Control Expert", "export them as CSV"),
    "html": Known("a web page", "save the table on it as CSV"),
    "Workbook": Known("an Excel 2003 XML workbook", "save it as xlsx"),
}
"""Kinds of XML by the name of the root element."""


def describe(content: Content) -> str:
    """Return the kind of a file and the advice for it, nothing for a file of an unknown kind."""
    known = _known(content)
    return "" if known is None else f"it is {known.title.format(suffix=content.suffix)}: {known.advice}"


def _known(content: Content) -> Known | None:
    return _by_suffix(content) or _by_content(content) or _by_text(content)


def _by_suffix(content: Content) -> Known | None:
    return next((known for pattern, known in _SUFFIXES if re.fullmatch(pattern, content.suffix)), None)


def _by_content(content: Content) -> Known | None:
    for start, known in _MAGIC:
        if content.data.startswith(start):
            return known
    for pattern, known in () if content.is_workbook else _PARTS:
        if any(re.fullmatch(pattern, part) for part in content.parts):
            return known
    return None


def _by_text(content: Content) -> Known | None:
    head = content.head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return _ROOTS["html"]
    if head.startswith(b"ie_ver"):
        return Known("a project of RSLogix 5000 (L5K)", _LOGIX)
    if re.search(rb"^format:\s*1\s*$", head, re.MULTILINE):
        if re.search(rb"^protocol:", head, re.MULTILINE):
            return Known("a template of Lineside", "copy it into the folder machines of a factory")
        return Known("a factory of Lineside", "check it with lineside validate")
    return _by_root(content) if head.startswith(b"<") else None


def _by_root(content: Content) -> Known | None:
    try:
        name = content.xml.tag.rpartition("}")[2]
    except ValueError:
        return None
    return _ROOTS.get(name)

"""The columns of a register list: by the names that manuals give them, by their content, or as a person says."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from gateway.importers.register_address import is_modicon, parse_address, parse_table
from gateway.importers.register_type import parse_type
from gateway.settings.problems import unknown
from gateway.settings.units import is_unit, usual_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.importers.table import Cells

FIELDS: dict[str, str] = {
    "address": """
        address addr register registers registeraddress reg regaddr regaddress modbusaddress modbusregister
        modbusregisteraddress registernumber registerno regno modbusreg mbaddress startingaddress startaddress
        startregister dataaddress registeroffset plcaddress hexaddress decaddress addressdec addresshex hex dec
        adresse registeradresse modbusadresse registernummer startadresse registernr modbusregisteradresse 地址
        寄存器地址 寄存器 起始地址 点位地址 modbus地址 通讯地址 通信地址 偏移地址 参数地址 寄存器起始地址 数据地址
    """,
    "name": """
        name point pointname tag tagname variable variablename parameter parametername signal signalname symbol
        registername measurement item itemname shortname bezeichnung variablenname messgröße messwert kurzname
        datenpunkt messgroesse kurzbezeichnung 名称 变量名 变量名称 点位名称 点名 参数 参数名 参数名称 信号名称
        数据名称 标签 标签名 寄存器名称 测点名称 信号 变量 数据项
    """,
    "description": """
        description desc comment comments remark remarks meaning details notes beschreibung kommentar bemerkung
        bemerkungen bedeutung erläuterung anmerkung hinweis langtext 描述 说明 备注 注释 含义 参数说明 描述说明
        内容
    """,
    "unit": "unit units engunit engunits engineeringunit engineeringunits uom einheit einheiten 单位 工程单位",
    "type": """
        type datatype dataformat format rawtype raw datentyp typ datenformat variabletype valuetype encoding
        数据类型 类型 数据格式 变量类型 数值类型
    """,
    "scale": """
        scale scaling scalefactor scalingfactor factor multiplier resolution coefficient ratio skalierung faktor
        skalierungsfaktor auflösung multiplikator 比例 系数 倍率 倍数 缩放 缩放系数 缩放比例 分辨率 比例系数 精度
        变比
    """,
    "divisor": "divisor divider gain divideby teiler 除数 增益",
    "decimals": """
        decimals decimalplaces decimalpoint decimaldigits nachkommastellen kommastellen 小数位 小数位数 小数点
    """,
    "offset": "bias valueoffset zerooffset nullpunkt 偏置 偏差 零点 偏移值",
    "access": """
        access rw readwrite readorwrite permission permissions accesstype mode zugriff zugriffsrecht
        lesenschreiben ls 读写 读写属性 权限 访问 访问权限 读写权限 读写类型 属性
    """,
    "table": """
        table area memoryarea registertype regtype objecttype modbustype registerart bereich registertyp
        registerbereich 寄存器类型 区域 寄存器区 存储区
    """,
    "function": "functioncode fc fcode readfunction readfunctioncode funktionscode 功能码 读功能码 功能代码",
    "length": """
        length size count quantity words numberofregisters noofregisters registercount regcount numregisters
        registersize len länge anzahl anzahlregister registeranzahl wortanzahl 长度 数量 字数 寄存器数量 个数
        寄存器个数 数据长度 字节数
    """,
    "bit": "bit bitnumber bitno bitposition bitpos bitnr bitoffset 位 位号 比特位 位序号",
    "low": "min minimum minvalue low engmin englow lowerlimit rangemin untergrenze minimalwert 最小值 下限",
    "high": "max maximum maxvalue high engmax enghigh upperlimit rangemax obergrenze maximalwert 最大值 上限",
    "order": """
        byteorder wordorder endian endianness byteswap registerorder bytereihenfolge wortreihenfolge 字节序
        字节顺序 字序
    """,
    "labels": "enum enumeration states werte zustände wertebedeutung 枚举 取值 枚举值 值含义",
    "every": """
        scanrate period interval pollrate pollinterval pollingrate zyklus abtastrate zykluszeit 周期 采集周期
        采样周期
    """,
    "unit_id": """
        slave slaveid slaveaddress unitid deviceid stationid station modbusid geräteadresse 从站 站号 从站地址
        从机地址
    """,
    "machine": "machine device devicename equipment maschine gerät anlage 设备 设备名称 设备名 机台",
}  # fmt: skip
"""The fields of columns, and their names in manuals, in small letters without blanks and signs."""

LOOSE = {"offset": "address", "function": "function", "values": "labels"}
"""Names that mean a field only where nothing else is that field."""

OTHERWISE = {"type": "table", "function": "description"}
"""The field of a column whose content does not fit its name."""

_SAMPLE = 200
_ROWS_BEFORE = 30
"""Rows among which the header is looked for."""
_MOSTLY = 0.8


class Columns(NamedTuple):
    """The columns of a list: their position by field. `head` is the row that names them, -1 where none does."""

    head: int
    by_field: dict[str, int]
    names: Sequence[str]
    unused: Sequence[str] = ()

    def shown(self) -> str:
        """Return which column is which, as in `address <- Register, name <- Tag Name`."""
        used = ", ".join(f"{field} <- {self.names[column]}" for field, column in self.by_field.items())
        return used + (f"; not used: {', '.join(self.unused)}" if self.unused else "")


_BY_NAME = {name: field for field, names in FIELDS.items() for name in names.split() if name}


def plain(name: str) -> str:
    """Return the name of a column in small letters, without blanks, signs and units in brackets."""
    text = re.sub(r"[(\[\uff08\u3010].*?[)\]\uff09\u3011]", "", name.strip().lower())
    return re.sub(r"[^0-9a-zäöüß\u4e00-\u9fff]", "", text)


def find_columns(rows: Sequence[Cells], given: Sequence[tuple[str, str]] = ()) -> Columns | None:
    """Return the columns of a list, None where no column has addresses, or no other is a name.

    `given` are fields with the name, the letter or the number of their column. Raises `ValueError` for one that the
    list does not have.
    """
    head = _head(rows, given)
    width = max((len(row.cells) for row in rows[:_SAMPLE]), default=0)
    names = [cell.strip() for cell in rows[head].cells] if head >= 0 else []
    names += [f"column {number}" for number in range(len(names) + 1, width + 1)]
    body = rows[head + 1 :][:_SAMPLE]
    columns = [[cells[n].strip() for _, cells in body if n < len(cells) and cells[n].strip()] for n in range(width)]
    fields = _by_name(names, columns)
    for field, column in given:
        position = _position(column, names)
        fields = {one: used for one, used in fields.items() if used != position and one != field}
        fields[field] = position
    fields = _by_content(fields, columns)
    if "address" not in fields or not {"name", "description"} & fields.keys():
        return None
    unused = [name for number, name in enumerate(names) if columns[number] and number not in fields.values()]
    return Columns(head, {field: fields[field] for field in FIELDS if field in fields}, names, unused)


def _head(rows: Sequence[Cells], given: Sequence[tuple[str, str]]) -> int:
    """Return the position of the row that names the columns, -1 if the first row has data already."""
    wanted = {plain(column) for _, column in given}
    best, most = 0, 0
    for number, row in enumerate(rows[:_ROWS_BEFORE]):
        names = {plain(cell) for cell in row.cells if cell.strip()}
        known = len(names & (wanted | _BY_NAME.keys()))
        if known > most:
            best, most = number, known
    return -1 if not most and rows and any(map(_is_sure_address, rows[0].cells)) else best


def _by_name(names: Sequence[str], columns: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the fields that the names of columns say, unless their content says otherwise."""
    fields: dict[str, int] = {}
    loose: dict[str, int] = {}
    for number, name in enumerate(map(plain, names)):
        field = LOOSE.get(name) or _BY_NAME.get(name, "")
        while field in _CHECKED and not _mostly(_CHECKED[field], columns[number]):
            field = OTHERWISE.get(field, "")
        if field:
            (loose if name in LOOSE else fields).setdefault(field, number)
    return loose | fields


def _mostly(fits: Callable[[str], bool], cells: Sequence[str]) -> bool:
    return bool(cells) and sum(map(fits, cells)) >= _MOSTLY * len(cells)


def _position(column: str, names: Sequence[str]) -> int:
    """Return the position of a column by its name, its number from 1, or its letters as in a spreadsheet."""
    wanted = column.strip()
    for same in (str.strip, str.casefold, plain):
        found = [number for number, name in enumerate(names) if name and same(name) == same(wanted)]
        if found:
            return found[0]
    number = -1
    if re.fullmatch(r"\d{1,3}", wanted):
        number = int(wanted) - 1
    elif re.fullmatch(r"[A-Za-z]{1,2}", wanted):
        for letter in wanted.upper():
            number = (number + 1) * 26 + ord(letter) - ord("A")
    if 0 <= number < len(names):
        return number
    raise ValueError(unknown("column", column, [name for name in names if name]))


def _parses(parse: Callable[[str], object], cell: str) -> bool:
    try:
        return bool(parse(cell))
    except ValueError:
        return False


def _is_address(cell: str) -> bool:
    return _parses(parse_address, cell)


def _is_table(cell: str) -> bool:
    return _parses(partial(parse_table, by_function=True), cell)


def _is_sure_address(cell: str) -> bool:
    """Return whether a cell is an address for more reasons than that it is a number."""
    if not _is_address(cell):
        return False
    entry = parse_address(cell)
    return entry.certain or bool(entry.table) or is_modicon(entry.number)


def _is_number(cell: str) -> bool:
    return bool(re.fullmatch(r"[-+]?[\d.,]+", cell))


def _is_type(cell: str) -> bool:
    return _parses(parse_type, cell)


def _is_sure_type(cell: str) -> bool:
    return _is_type(cell) and bool(re.search(r"\d|float|real|bool|string|word|int\b", cell.lower()))


def _is_unit(cell: str) -> bool:
    return not cell.isdecimal() and (is_unit(cell) or usual_unit(cell) is not None)


def _is_access(cell: str) -> bool:
    return cell.lower().replace("/", "").replace(" ", "") in {"r", "w", "rw", "ro", "wo", "readonly", "readwrite"}


_CHECKED = {"address": _is_address, "type": _is_type, "table": _is_table, "function": _is_table}
_CONTENTS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("access", _is_access), ("type", _is_sure_type), ("address", _is_sure_address), ("unit", _is_unit),
)  # fmt: skip


def _by_content(fields: dict[str, int], columns: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the fields, with those that the content of other columns shows."""
    fields = dict(fields)
    for field, fits in _CONTENTS:
        if field not in fields:
            free = [number for number in range(len(columns)) if number not in fields.values()]
            found = next((number for number in free if _mostly(fits, columns[number])), None)
            if found is not None:
                fields[field] = found
    if not {"name", "description"} & fields.keys():
        free = [number for number in range(len(columns)) if number not in fields.values()]
        texts = {number: len(set(columns[number])) for number in free if not _mostly(_is_number, columns[number])}
        if texts and max(texts.values()):
            fields["name"] = max(texts, key=lambda number: texts[number])
    return fields

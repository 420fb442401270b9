"""The bill of materials in CycloneDX, and the list of licences with their texts."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from archive import digest
from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component as Entry
from cyclonedx.model.component import ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from project import NAME, build_date, description, version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components import Component

SPACE = uuid.UUID("2f1a7c9e-5d0b-4f43-9c3e-6a1f0c9d7b21")
"""The namespace of the serial numbers of our bills: a bill of the same content has the same number."""

LINE = "=" * 79


def bill_of_materials(found: Sequence[Component]) -> str:
    """Return the bill of materials (CycloneDX 1.6, JSON) of Lineside and the packages that it is installed with."""
    entries = {component.name: _entry(component) for component in found}
    own = entries.pop(NAME)
    own.type = ComponentType.APPLICATION
    own.description = description()
    bom = Bom(components=entries.values())
    bom.metadata.component = own
    bom.metadata.timestamp = build_date()
    bom.serial_number = uuid.uuid5(SPACE, "\n".join(f"{one.url} {_hashes(one)}" for one in found))
    refs = {name: entry.bom_ref for name, entry in entries.items()} | {NAME: own.bom_ref}
    for component in found:
        needed = [Dependency(refs[name]) for name in component.requires]
        bom.dependencies.add(Dependency(refs[component.name], needed))
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2) + "\n"


def licence_list(found: Sequence[Component]) -> str:
    """Return a text with a table of all licences, and the texts that the packages come with."""
    others = [component for component in found if component.name != NAME]
    width = max(len(f"{one.name} {one.version}") for one in others)
    lines = [
        f"Packages that {NAME} {version()} is installed with. Each is a separate package that is used unchanged.",
        "",
        *(f"{one.name + ' ' + one.version:<{width}}  {one.licence}" for one in others),
    ]
    for one in others:
        lines += ["", LINE, f"{one.name} {one.version}: {one.licence}", *([one.page] if one.page else []), LINE]
        texts = one.texts or {"": "The package comes without the text of its licence."}
        for name, text in texts.items():
            lines += ["", *([f"--- {name}"] if name else []), text.rstrip().replace("\r\n", "\n")]
    return "\n".join(lines) + "\n"


def _entry(component: Component) -> Entry:
    purl = PackageURL("pypi", name=component.name, version=component.version)
    return Entry(
        name=component.name,
        version=component.version,
        type=ComponentType.LIBRARY,
        bom_ref=component.url,
        purl=purl,
        licenses=[LicenseFactory().make_from_string(component.licence)],
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(wheel.name),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest(wheel))],
            )
            for wheel in component.wheels
        ],
    )


def _hashes(component: Component) -> str:
    return " ".join(digest(wheel) for wheel in component.wheels)

"""Build the packages of Lineside: `make package`, or `python tools/release wheel debian bundle documents`.

    wheel      the wheel, for an environment that others manage
    debian     Debian packages for amd64 and arm64, for each Python
    bundle     the wheels of all dependencies with a script that installs them, for boxes without a network
    documents  the bill of materials (CycloneDX) and the licences of all dependencies

The same commit gives the same bytes. SHA256SUMS has the checksums of all packages; with `--sign-key` SHA256SUMS.sig
is its signature, and the manifests of the files that the packages install are signed, too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from archive import digest
from bill_of_materials import bill_of_materials, licence_list
from bundle import build_bundle
from components import components
from debian_package import RELEASES, build_debian_package
from project import NAME, ROOT, version
from signature import UnusableKey, read_key, read_public_key, write_signature
from wheels import MACHINES, Target, build_wheel, dependencies

from gateway.software.release_keys import NEXT_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

WHAT = ("wheel", "debian", "bundle", "documents")

EXTRAS = ("dashboard", "influxdb", "metrics", "notify", "oidc", "serial", "zstd")
"""The extras whose packages are in requirements-service.txt: all that gateway, ingest and page can use."""


def main() -> None:
    """Build the packages that the command line names."""
    options = _options()
    try:  # before the work of minutes
        key = None if options.sign_key is None else read_key(options.sign_key)
        next_key = None if options.next_key is None else read_public_key(options.next_key)
    except UnusableKey as error:
        sys.exit(f"tools/release: {error}")
    if options.database is not None:
        _check_vulnerabilities(options.database, options.accept)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    targets = [Target(python, one) for python in options.python for one in options.architecture]
    wheel = build_wheel(out)
    built = [wheel]
    if {"debian", "bundle", "documents"} & set(options.what):
        needed = {target: dependencies(target, options.cache) for target in targets}
        found = components([wheel, *(one for wheels in needed.values() for one in wheels)], EXTRAS)
        documents = {"sbom.cdx.json": bill_of_materials(found), "third-party-licences.txt": licence_list(found)}
        if "documents" in options.what:
            built += _write(out, documents)
        if "debian" in options.what:
            built += [
                build_debian_package(out, wheel, options.cache, documents, target, options.revision, key)
                for target in targets
            ]
        if "bundle" in options.what:
            wheels = {target: [wheel, *needed[target]] for target in targets}
            built.append(build_bundle(out, found, documents, wheels, key))
    if next_key is not None:
        built.append(out / NEXT_KEY)
        built[-1].write_bytes(next_key)
    sums = "".join(f"{digest(file)}  {file.name}\n" for file in sorted(built))
    (out / "SHA256SUMS").write_text(sums, encoding="utf-8")
    write_signature(out / "SHA256SUMS", key)
    for file in built:
        print(f"{file} ({file.stat().st_size / 1e6:.1f} MB)")


def _check_vulnerabilities(database: Path, accept: Path | None) -> None:
    """Refuse a release whose packages have a known vulnerability that nobody has accepted. Raises `SystemExit`."""
    line = [sys.executable, str(ROOT / "tools" / "vulnerabilities.py"), "--database", str(database)]
    done = subprocess.run([*line, *(["--accept", str(accept)] if accept else [])], check=False)
    if done.returncode == 1:
        sys.exit("tools/release: this release has known vulnerabilities: update the packages, or accept them in a "
                 "file with --accept FILE")  # fmt: skip
    if done.returncode:
        sys.exit(f"tools/release: {database} can't be compared; mirror the database again")


def _write(out: Path, documents: dict[str, str]) -> list[Path]:
    files = []
    for name, text in documents.items():
        files.append(out / f"{NAME}-{version()}-{name}")
        files[-1].write_text(text, encoding="utf-8")
    return files


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/release", description="Build the packages of Lineside.")
    parser.add_argument("what", nargs="*", metavar="what", help=f"{', '.join(WHAT)}; all of them by default")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the packages")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "wheels", help="folder of downloaded wheels")
    parser.add_argument("--python", action="append", choices=list(RELEASES), help="for this Python; all by default")
    parser.add_argument("--architecture", action="append", choices=list(MACHINES), help="all by default")
    parser.add_argument("--revision", type=int, default=1, help="revision of the Debian package")
    parser.add_argument("--sign-key", type=Path, metavar="FILE", help="sign SHA256SUMS: Ed25519, in PEM")
    parser.add_argument("--next-key", type=Path, metavar="FILE", help="the public key of later releases, in PEM")
    parser.add_argument("--database", type=Path, metavar="FOLDER", help="refuse vulnerabilities of this OSV mirror")
    parser.add_argument("--accept", type=Path, metavar="FILE", help="but for those that a person has judged there")
    parser.add_argument("--unchecked", action="store_true", help="sign without a comparison with a database")
    options = parser.parse_args()
    if options.sign_key and not (options.database or options.unchecked):
        parser.error("a release that is signed is compared with known vulnerabilities: name a mirror with --database "
                     "or say --unchecked")  # fmt: skip
    if options.next_key and not options.sign_key:
        parser.error("--next-key needs --sign-key: the present key vouches for the next one")
    if unknown := sorted(set(options.what) - set(WHAT)):
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(WHAT)}")
    options.what = options.what or list(WHAT)
    options.python = _chosen(options.python, RELEASES)
    options.architecture = _chosen(options.architecture, MACHINES)
    return options


def _chosen(given: Sequence[str] | None, all_of_them: dict[str, str]) -> list[str]:
    return list(dict.fromkeys(given or all_of_them))


if __name__ == "__main__":
    main()

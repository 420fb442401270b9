"""`lineside sign`: the detached signature of a configuration."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from drivers.private_key import is_locked, load_signing_key
from gateway.cli.common import CONFIG, FORMAT, load, print_json
from gateway.cli.output import echo
from gateway.common.atomic_file import replace_file
from gateway.common.public_keys import public_text
from gateway.common.text import counted
from gateway.settings.signature import sign as signature_of
from gateway.settings.signature import signature_file, signed_files

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MOST_BYTES = 100_000
"""The size of a key."""

MOST_AHEAD = timedelta(minutes=1)
"""A signature that is dated later than this after the clock is worth a word."""

SHARED = 0o077
"""Rights of others than the owner."""


@click.command()
@CONFIG
@click.option("--key", "key_file", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE",
              help="Your private key: Ed25519, in PEM; openssl genpkey -algorithm ed25519 makes one.")  # fmt: skip
@FORMAT
def sign(config: Path, key_file: Path, style: str) -> None:
    """Sign CONFIG, with all files that it includes, and write the signature beside it, into CONFIG.sig.

    Prints the public key: a machine whose policy names it under signers runs CONFIG as it is now, and no other. It
    refuses a version that was signed earlier; to go back to one, sign it again. A key with a passphrase is asked for
    it.
    """
    factory = load(config)
    key = _read(key_file)
    file, content = signature_file(config), signature_of(factory, key)
    replace_file(file, [content])
    file.chmod(0o644)  # a service of another user reads it; there is no secret in it
    files, public, signed = signed_files(factory), public_text(key.public_key()), orjson.loads(content)["time"]
    ahead = datetime.fromisoformat(signed) - datetime.now(UTC)
    if ahead > MOST_AHEAD:
        behind = "the clock of this computer is behind the signature before"
        echo(f"lineside: {behind}; the new signature is dated {signed}", err=True)
    if style == "json":
        print_json({"file": str(file), "files": files, "key": public, "time": signed})
        return
    echo(f"{file}: {counted(len(files), 'file')} signed at {signed} with the key {public}")
    for name in files:
        echo(f"  {name}")


def _read(file: Path) -> Ed25519PrivateKey:
    """Return the private key of a file; asks for its passphrase if it has one."""
    with file.open("rb") as opened:
        if os.fstat(opened.fileno()).st_mode & SHARED:
            raise click.ClickException(f"{file}: others can use the key; run chmod 600 {file}")
        content = opened.read(MOST_BYTES)
    passphrase = None
    if is_locked(content):
        passphrase = click.prompt("passphrase of the key", hide_input=True, err=True)
    try:
        return load_signing_key(content, passphrase)
    except ValueError:
        wrong = "" if passphrase is None else ", or the passphrase is wrong"
        raise click.ClickException(
            f"{file}: is not an Ed25519 key in PEM{wrong}; openssl genpkey -algorithm ed25519 -out {file} makes one"
        ) from None

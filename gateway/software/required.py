"""Refuse to start with software that was changed, or that nobody vouches for, if the policy requires that."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from gateway.settings.policy import Untrusted
from gateway.settings.problems import Problem
from gateway.software.installation import NotInstalled, installation
from gateway.software.integrity import software_problems
from gateway.software.manifest import BadManifest
from gateway.software.release_keys import UnusableKeys, release_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.policy import Policy

MOST_PROBLEMS = 20
"""Problems that are reported; the first is enough to refuse."""


def require_software(policy: Policy | None) -> None:
    """Check the software as the policy of this machine requires; without that return at once.

    It takes seconds: all files are read, and compiled files compared. Raises `Untrusted` with the first problems.
    """
    if policy is None or not policy.requires_software:
        return
    found = list(islice(_problems(policy), MOST_PROBLEMS))
    if found:
        raise Untrusted([Problem(policy.file, 1, 1, "software", text) for text in found])


def _problems(policy: Policy) -> Iterator[str]:
    try:
        keys, installed = release_keys(policy), installation()
    except NotInstalled:
        yield "software is required, and this is a source tree; install the Debian package or the bundle of a release"
        return
    except (BadManifest, UnusableKeys, OSError) as error:
        yield f"software is required, and can't be checked: {error}; install the release again"
        return
    if not keys.keys:
        yield f"software is required, and there is no release key; add release_keys, or put the key into {keys.place}"
    yield from software_problems(installed, keys, pause=0.0)

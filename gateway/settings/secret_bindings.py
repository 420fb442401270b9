"""What each secret has been for since the start of a gateway: a reload sends none to another place.

Somebody who can change the file of a running gateway could let it send the secret of one server to another. Without a
policy a start is trusted, a reload is not: where a secret went at the start, it may go. A policy with `secrets` says
more, and then decides alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.settings.destinations import Use, destinations
from gateway.settings.policy import Untrusted, read_policy
from gateway.settings.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.secret import Secret
    from gateway.settings.destinations import Destination
    from gateway.settings.factory import Factory

_CHECKED = (Use.BROKER, Use.DEVICES)
"""The parts of a configuration that a gateway connects to."""


class SecretBindings:
    """The places of each secret of the configurations that a gateway has accepted."""

    def __init__(self, factory: Factory) -> None:
        self._known: dict[str, set[tuple[Use, str]]] = {}
        self.add(factory)

    def add(self, factory: Factory) -> None:
        """Accept the places of a configuration."""
        for one in destinations(factory):
            for _, secret in one.secrets:
                self._known.setdefault(secret.origin(), set()).update(_places(one))

    def check(self, factory: Factory) -> None:
        """Raise `Untrusted` if a secret would go to a place that it did not go to before."""
        policy = read_policy()
        if (policy is None or not policy.binds_secrets) and (problems := list(self._problems(factory))):
            raise Untrusted(problems)

    def _problems(self, factory: Factory) -> Iterator[Problem]:
        for one in destinations(factory):
            if one.use not in _CHECKED:
                continue
            for path, secret in one.secrets:
                new = _places(one) - self._known.get(secret.origin(), set())
                if new and not self._is_new_of_device(one, secret):
                    document, whole = one.place.document, (*one.place.path, *path)
                    there = " and ".join(sorted(url or "devices" for _, url in new))
                    message = (
                        f"the secret {secret.secret or secret.file} was not sent to {there} before; if that is right,"
                        " restart the gateway, which loses nothing, or name it in the secrets of a policy"
                    )
                    yield Problem(document.file, *document.mark(whole), ".".join(map(str, whole)), message)

    def _is_new_of_device(self, one: Destination, secret: Secret) -> bool:
        """Return whether a secret is of a machine that was added with it: it is named, and is for nothing else."""
        return one.use is Use.DEVICES and not secret.file and secret.origin() not in self._known


def _places(one: Destination) -> set[tuple[Use, str]]:
    """Return the places of a part: each server; devices count as one, since machines of a type share a password."""
    if one.use is Use.DEVICES or not one.urls:
        return {(one.use, "")}
    return {(one.use, f"{urlsplit(url).scheme}://{urlsplit(url).netloc}".lower()) for url in one.urls}

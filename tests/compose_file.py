"""The part of the Compose specification that compose.yaml uses, as strict models: an unknown key is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

if TYPE_CHECKING:
    from pathlib import Path

DURATION = r"^\d+(ms|s|m|h)$"
SIZE = r"^\d+[bkmg]$"
REFERENCE = r"^[a-z0-9]+(?:[._/-][a-z0-9]+)*:[A-Za-z0-9._-]+(@sha256:[0-9a-f]{64})?$"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class HealthCheck(_Model):
    """`test` is a command, with CMD before it."""

    test: Annotated[list[str], Field(min_length=2)] | None = None
    interval: Annotated[str, Field(pattern=DURATION)] | None = None
    timeout: Annotated[str, Field(pattern=DURATION)] | None = None
    start_period: Annotated[str, Field(pattern=DURATION)] | None = None
    retries: int | None = None
    disable: bool = False


class Logging(_Model):
    driver: Literal["json-file", "local", "journald"]
    options: dict[str, str]


class Build(_Model):
    context: str
    target: str


class Needed(_Model):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class ServiceSecret(_Model):
    source: str
    target: str


def _secret(written: object) -> object:
    return {"source": written, "target": written} if isinstance(written, str) else written


class Volume(_Model):
    """`source` is a named volume, or a path that begins with `./`."""

    source: Annotated[str, Field(pattern=r"^(\./)?[A-Za-z0-9][A-Za-z0-9._/-]*$")]
    target: Annotated[str, Field(pattern=r"^/")]
    read_only: bool

    @property
    def is_path(self) -> bool:
        return self.source.startswith("./")


def _volume(written: object) -> object:
    if not isinstance(written, str):
        return written
    source, target, *mode = written.split(":")
    if mode not in ([], ["ro"]):
        raise ValueError(f"{written}: the mode of a volume is ro, or left out")
    return {"source": source, "target": target, "read_only": bool(mode)}


class Service(_Model):
    image: Annotated[str, Field(pattern=REFERENCE)]
    build: Build | None = None
    command: list[str] | None = None
    entrypoint: list[str] | None = None
    environment: dict[str, str] = {}
    user: Annotated[str, Field(pattern=r"^\d+:\d+$")] | None = None
    networks: list[str]
    ports: list[Annotated[str, Field(pattern=r"^127\.0\.0\.1:\d+:\d+$")]] = []
    volumes: list[Annotated[Volume, BeforeValidator(_volume)]] = []
    tmpfs: list[str] = []
    secrets: list[Annotated[ServiceSecret, BeforeValidator(_secret)]] = []
    depends_on: dict[str, Needed] = {}
    healthcheck: HealthCheck
    restart: Literal["unless-stopped", "always", "on-failure", "no"]
    read_only: bool = False
    cap_drop: list[Literal["ALL"]]
    cap_add: list[str] = []
    security_opt: list[Literal["no-new-privileges:true"]]
    logging: Logging
    pids_limit: int
    mem_limit: Annotated[str, Field(pattern=SIZE)]
    cpus: float


class Secret(_Model):
    """A secret of a file. One of `environment` can't be mounted into a container with a read-only root."""

    file: str


class Compose(_Model):
    name: str
    services: dict[str, Service]
    networks: dict[str, None]
    volumes: dict[str, None]
    secrets: dict[str, Secret]


def read_compose(file: Path) -> Compose:
    """Return the content of a compose file, without its extensions (`x-...`)."""
    data: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return Compose.model_validate({key: value for key, value in data.items() if not key.startswith("x-")})

"""Programs and containers of the user's own that run on the nodes of a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from nodes.contract.config import Name


class _OnNode(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Name
    command: tuple[str, ...]
    cores: float | None = Field(default=None, ge=0.01)
    memory_bytes: int | None = Field(default=None, ge=1 << 20)


class NodeProgram(_OnNode):
    """A program of the user's own that runs on a node, beside the node's program.

    It sees the node's network, and can ask for the node's state (docs/scenarios.md).

    Args:
        name: unique on its node; part of its log's name.
        command: the program and its arguments.
        cores: processor time in seconds per second that it may take, by a control group; None: no limit.
        memory_bytes: memory beyond which the kernel ends it, by a control group; None: no limit.
    """

    command: tuple[str, ...] = Field(min_length=1)

    @property
    def executed(self) -> str:
        """What a run of it executes, in words."""
        return " ".join(self.command)


class Container(_OnNode):
    """A container of the user's own that runs on a node, in the node's network.

    The OCI runtime crun starts it, with a root filesystem that it may write to and that is discarded at its
    end. It can ask for the node's state as a `NodeProgram` can.

    Args:
        name: unique on its node; part of its log's name, and its host name.
        image: an image in a file, as `docker save` (from version 25) and `podman save --format oci-archive`
            write it, an OCI image layout in a folder, or a folder that is the root filesystem.
        command: the program in the image and its arguments; empty: what the image says.
        cores: processor time in seconds per second that it may take, by a control group; None: no limit.
        memory_bytes: memory beyond which the kernel ends it, by a control group; None: no limit. Files that
            it writes to its root filesystem count.
    """

    image: Annotated[Path, AfterValidator(Path.absolute)]
    command: tuple[str, ...] = ()

    @property
    def executed(self) -> str:
        """What a run of it executes, in words."""
        return " ".join(("the container", str(self.image), *self.command))


def _kind(value: Any) -> str:
    has_image = "image" in value if isinstance(value, dict) else isinstance(value, Container)
    return "container" if has_image else "program"


OwnProgram: TypeAlias = Annotated[
    Annotated[NodeProgram, Tag("program")] | Annotated[Container, Tag("container")], Discriminator(_kind)
]

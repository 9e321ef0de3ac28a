"""What this package provides."""

from __future__ import annotations

from burnish import EnvironmentRecord, hookimpl


@hookimpl
def burnish_environments() -> list[EnvironmentRecord]:
    """A client."""
    return [
        EnvironmentRecord(
            name="openenv",
            target="burnish_openenv.environment:OpenEnv",
            summary="an environment behind an OpenEnv server",
            api=1,
        )
    ]

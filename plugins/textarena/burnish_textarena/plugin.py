"""What this package provides."""

from __future__ import annotations

from burnish import EnvironmentRecord, SourceRecord, hookimpl


@hookimpl
def burnish_environments() -> list[EnvironmentRecord]:
    """One environment for all games."""
    return [
        EnvironmentRecord(
            name="textarena",
            target="burnish_textarena.environment:TextArena",
            summary="a text game, against the game itself or against an opponent",
            api=1,
        )
    ]


@hookimpl
def burnish_sources() -> list[SourceRecord]:
    """Beginnings of games."""
    return [
        SourceRecord(
            name="textarena",
            target="burnish_textarena.source:Games",
            summary="one prompt for each of many games, by seed",
            api=1,
        )
    ]

"""The Hugging Face hub, where a name that is no folder and no plugin's is looked for.

In: a path or hub id. Out: whether the hub can be asked, and words about it. Knows no model, and asks the hub nothing itself.
"""

from __future__ import annotations

import socket
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants


def cache_only(path: str) -> bool:
    """Whether `path` is a hub id for the cache alone: without a network, the hub would be asked for a minute in vain."""
    return not Path(path).is_dir() and not is_reachable()


def why_not() -> str:
    """The end of a sentence about a name that the hub did not give."""
    if constants.HF_HUB_OFFLINE:
        return "; HF_HUB_OFFLINE is set, so only its cache on this machine was searched"
    return "" if is_reachable() else f"; {constants.ENDPOINT} cannot be found from here, so only its cache was searched"


@cache
def is_reachable() -> bool:
    """Whether the hub's address can be looked up; behind a proxy that is not for this machine to say."""
    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True

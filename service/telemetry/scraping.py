"""The writing of all figures: in a thread of its own, once for however many ask at the same moment."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder

from service.telemetry.sharing import collected
from service.telemetry.stored import Asked, Figures, Stored

# `choose_encoder` fails on a version that is not of numbers.
ODD_VERSION = re.compile(r"version\s*=\s*(?!\d{1,3}(\.\d{1,3}){0,3}\s*([;,]|$))")

Found = TypeVar("Found")
Encode = Callable[["Families"], bytes]


class Families(msgspec.Struct, frozen=True):
    """Figures, in the shape from which the library writes them."""

    found: list[Metric]

    def collect(self) -> list[Metric]:
        """Give them."""
        return self.found


class Scrapes:
    """Reads figures, once at a time: who asks meanwhile is told the same ones."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "figures")  # of its own, as it may wait for another process
        self._asked = Asked()
        self._reading: asyncio.Task[Families] | None = None

    async def stored(self) -> Figures:
        """Give those that come from the database."""
        return await self._asked.figures()

    async def written(self, encode: Encode) -> bytes:
        """Write all figures.

        Raises:
            FolderHeldError: another process keeps them to itself.
        """
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        found = await asyncio.shield(self._reading)  # others may wait for it though this caller goes away
        return await self._threaded(partial(encode, found))

    async def _read(self) -> Families:
        figures = await self.stored()
        return Families(await self._threaded(partial(collected, Stored(figures))))

    async def _threaded(self, work: Callable[[], Found]) -> Found:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def form_for(accepted: str) -> tuple[Encode, str]:
    """Choose how to write figures for an `Accept` header, and the media type of that; plain text for an odd one."""
    chosen: tuple[Any, str] = choose_encoder("" if ODD_VERSION.search(accepted) else accepted)
    return chosen

"""Imports as a person at the hub does them, and files that break off."""

import errno
import io
from pathlib import Path
from typing import Any

from sync.hub.people.exporting import export_customers
from sync.hub.people.importing import Desk, Fault, Imported, import_customers
from sync.runtime.database import Writer
from tests.support.clock import FakeClock


class BreaksOff(io.RawIOBase):
    """A file on a disk that fails behind so many bytes."""

    def __init__(self, whole: bytes) -> None:
        self._whole = io.BytesIO(whole)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._whole.tell()

    def readinto(self, buffer: Any) -> int:
        return self._whole.readinto(buffer) or self._fail()

    def _fail(self) -> int:
        raise OSError(errno.EIO, "Input/output error")


class Importer:
    """Imports files into a hub's database, and keeps what was said about them."""

    def __init__(self, writer: Writer, identifier_key: bytes, folder: Path) -> None:
        self.writer = writer
        self.folder = folder
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []
        self.progress: list[int] = []
        self.desk = Desk(
            writer, FakeClock(), identifier_key, "1", self.faults.append, self.warnings.append, self.progress.append
        )

    async def __call__(self, text: str | bytes, name: str = "customers.csv") -> Imported:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.faults.clear()
        self.warnings.clear()
        return await import_customers(path, self.desk)

    async def rows(self, sql: str) -> list[Any]:
        return await self.writer.write(lambda connection: connection.execute(sql).fetchall())

    async def everything(self) -> list[Any]:
        """Return all that the hub keeps of customers, their points and the feed."""
        tables = ("customers", "identifiers", "balances", "openings", "tallies", "feed", "presented")
        return [await self.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]

    async def exported(self, name: str) -> bytes:
        path = self.folder / name
        form: Any = "csv" if name.endswith(".csv") else "ndjson"
        with path.open("w", encoding="utf-8", newline="") as out:
            await self.writer.write(lambda connection: export_customers(connection, out, form))
        return path.read_bytes()

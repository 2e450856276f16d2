"""The wedge's settings, as somebody at this till measured them; the defaults until then. They outlive the process."""

from agent.wedge import Scanner
from sync.runtime.database import Writer
from sync.runtime.near_reader import NearReader


class ScannerSettings:
    """Keeps how the page tells this till's scanner from a person."""

    def __init__(self, near: NearReader, writer: Writer) -> None:
        """Take the till's connections."""
        self._near = near
        self._writer = writer

    def read(self) -> Scanner:
        """Return the settings in force."""
        rows = self._near.glance("SELECT gap_ms, prefix, suffix, ending, chars_min FROM main.scanner", ())
        if not rows:
            return Scanner()
        gap_ms, prefix, suffix, ending, chars_min = rows[0]
        return Scanner(gap_ms=gap_ms, prefix=prefix, suffix=suffix, end=ending, chars_min=chars_min)

    async def keep(self, scanner: Scanner) -> None:
        """Keep new settings, durable on return.

        Raises:
            DatabaseError: those before stay in force.
        """
        row = (scanner.gap_ms, scanner.prefix, scanner.suffix, scanner.end.value, scanner.chars_min)
        await self._writer.write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO scanner (id, gap_ms, prefix, suffix, ending, chars_min)"
                " VALUES (1, ?, ?, ?, ?, ?)",
                row,
            )
        )

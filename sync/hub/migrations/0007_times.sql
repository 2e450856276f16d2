-- When events really happened. A hello says how a machine's monotonic clock stands to the hub's, for as long as it runs.
CREATE TABLE clocks (
    terminal_id TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    offset_ms INTEGER NOT NULL,
    PRIMARY KEY (terminal_id, boot_id)
) STRICT, WITHOUT ROWID;

-- The last hello before the one that first named an incarnation: its events were made after that.
CREATE TABLE spans (
    terminal_id TEXT NOT NULL,
    inc TEXT NOT NULL CHECK (length(inc) = 16),
    after_ms INTEGER NOT NULL,
    PRIMARY KEY (terminal_id, inc)
) STRICT, WITHOUT ROWID;

-- Null where an event's envelope could not be read, and for events from before this was kept.
ALTER TABLE events ADD COLUMN occurred_ms INTEGER;
ALTER TABLE events ADD COLUMN time_quality TEXT CHECK (time_quality IN ('exact', 'estimated', 'untrusted'));
-- Booked on a later business day than it happened on.
ALTER TABLE events ADD COLUMN is_late INTEGER CHECK (is_late IN (0, 1));

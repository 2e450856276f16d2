-- Events that the hub has are kept for a stated time, and then what a later reversal or a repeated sale needs of them.

-- How far the event texts of an incarnation are gone from the journal; those that were set aside stay there.
ALTER TABLE incarnations ADD COLUMN pruned_through INTEGER NOT NULL DEFAULT 0 CHECK (pruned_through >= 0);

-- By this moment of the hub's clock, the hub had an incarnation that far and its balances contained it.
CREATE TABLE ack_marks (
  number INTEGER NOT NULL REFERENCES incarnations (number),
  at INTEGER NOT NULL,
  through INTEGER NOT NULL CHECK (through >= 1),
  PRIMARY KEY (number, at)
) STRICT, WITHOUT ROWID;

-- What stays of a pruned event: enough to answer its sale again and to take it back.
CREATE TABLE bygone (
  position INTEGER PRIMARY KEY,
  recorded_at INTEGER NOT NULL,
  subject BLOB CHECK (subject IS NULL OR length(subject) = 16),
  points INTEGER NOT NULL,
  net_minor INTEGER,
  currency TEXT
) STRICT;

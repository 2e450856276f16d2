-- What the cashier's page needs to know over a restart: which sales are of this shift, which were taken back, and how
-- the scanner types.

-- One row once staff have begun a shift: when, and behind which position of the journal its sales stand.
CREATE TABLE shift (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  began_at INTEGER NOT NULL,
  after_position INTEGER NOT NULL CHECK (after_position >= 0)
) STRICT;

-- One row once somebody has measured the scanner; the page's defaults until then.
CREATE TABLE scanner (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  gap_ms INTEGER NOT NULL,
  prefix TEXT NOT NULL,
  suffix TEXT NOT NULL,
  ending TEXT NOT NULL CHECK (ending IN ('enter', 'tab', 'any', 'none')),
  chars_min INTEGER NOT NULL
) STRICT;

-- A sale of no points that was taken back shows it here alone. Sales get no index of their own: that would be one more
-- page for every credit, and the list of a shift finds them by their place in the journal.
CREATE INDEX reversals_by_sale ON reversals (sale_id);

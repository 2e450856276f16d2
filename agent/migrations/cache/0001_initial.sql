-- cache-<n>.db: the hub's customers and balances as of a position of its feed. It can always be had again.

-- `put` is the row as the hub sent it; `points` is the newest posted balance and stands above the one inside `put`.
-- `last_visit` is a day number, 0 where none is known.
CREATE TABLE customers (
  number INTEGER PRIMARY KEY,
  customer_id TEXT NOT NULL UNIQUE,
  points INTEGER NOT NULL,
  last_visit INTEGER NOT NULL,
  put TEXT NOT NULL
) STRICT;

-- An identifier may lead to several customers: then a person chooses.
CREATE TABLE identifiers (
  id BLOB NOT NULL CHECK (length(id) = 16),
  customer INTEGER NOT NULL,
  PRIMARY KEY (id, customer)
) STRICT, WITHOUT ROWID;

-- Points that wait at the hub on an identifier itself.
CREATE TABLE cards (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  points INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Per incarnation of this terminal: the last seq that the balances here contain.
CREATE TABLE coverage (
  inc TEXT PRIMARY KEY,
  through INTEGER NOT NULL CHECK (through >= 0)
) STRICT, WITHOUT ROWID;

-- `cursor` is null until a snapshot was finished. The last three columns belong to one that is being loaded.
CREATE TABLE state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  cursor TEXT,
  as_of INTEGER,
  snapshot_id TEXT,
  chunks INTEGER NOT NULL DEFAULT 0,
  boot_id TEXT
) STRICT;

INSERT INTO state (id) VALUES (1);

-- Words of the names, folded by agent.store.names. It keeps no text of its own and is never sorted by rank.
CREATE VIRTUAL TABLE names USING fts5 (
  words,
  content = '',
  tokenize = "unicode61 remove_diacritics 2",
  prefix = '1 2 3 4',
  detail = none,
  columnsize = 0
);

-- The words of somebody who asked to be erased leave the index at once, not when its segments are merged one day.
INSERT INTO names (names, rank) VALUES ('secure-delete', 1);

-- till.db: what this terminal committed. The file to back up; every commit of it survives a power cut.

-- One row per process start that made events. Only one process runs at a time, so the events of an incarnation stand
-- at consecutive positions of the journal: position = first_position + seq - 1. `length` is null for the newest, which
-- reaches to the end of the journal: so a sale writes no row here. `acked_at` is null while the hub may lack an event.
CREATE TABLE incarnations (
  number INTEGER PRIMARY KEY,
  inc TEXT NOT NULL UNIQUE CHECK (length(inc) = 16),
  previous_inc TEXT,
  previous_seq INTEGER,
  first_position INTEGER NOT NULL UNIQUE CHECK (first_position >= 1),
  length INTEGER CHECK (length >= 1),
  acked_through INTEGER NOT NULL DEFAULT 0 CHECK (acked_through >= 0 AND acked_through <= length),
  acked_at INTEGER CHECK (acked_through = length OR acked_at IS NULL),
  swept_through INTEGER NOT NULL DEFAULT 0 CHECK (swept_through BETWEEN 0 AND acked_through),
  CHECK ((previous_inc IS NULL) = (previous_seq IS NULL))
) STRICT;

CREATE INDEX incarnations_not_acked ON incarnations (number) WHERE acked_at IS NULL;

CREATE INDEX incarnations_not_swept ON incarnations (number) WHERE swept_through < acked_through;

-- The events as they go on the wire; append-only. Times are milliseconds since 1970 UTC.
CREATE TABLE journal (
  position INTEGER PRIMARY KEY,
  recorded_at INTEGER NOT NULL,
  subject BLOB CHECK (subject IS NULL OR length(subject) = 16),
  points INTEGER NOT NULL,
  event TEXT NOT NULL
) STRICT;

-- The outbox is no table: it is each stream's events beyond acked_through.
CREATE VIEW streams AS
SELECT number, inc, first_position, acked_through, acked_at, swept_through,
  coalesce(length, (SELECT max(position) FROM journal) - first_position + 1) AS length
FROM incarnations;

-- The few events that were not simply applied. 'final' is a verdict that overtook the answer to its upload.
CREATE TABLE set_aside (
  position INTEGER PRIMARY KEY REFERENCES journal (position),
  state TEXT NOT NULL CHECK (state IN ('rejected', 'parked', 'withheld', 'final')),
  reason TEXT NOT NULL,
  since INTEGER NOT NULL
) STRICT;

CREATE INDEX set_aside_by_state ON set_aside (state, position);

-- Effects that the hub's balance may not contain yet. Rows that it does contain are swept away later.
CREATE TABLE pending (
  subject BLOB NOT NULL CHECK (length(subject) = 16),
  inc TEXT NOT NULL,
  seq INTEGER NOT NULL CHECK (seq >= 1),
  points INTEGER NOT NULL CHECK (points <> 0),
  PRIMARY KEY (subject, inc, seq)
) STRICT, WITHOUT ROWID;

-- A sale_id is answered with its first result for ever. The fingerprint is the sha256 of the request.
CREATE TABLE sales (
  sale_id TEXT PRIMARY KEY,
  fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
  position INTEGER NOT NULL,
  taken_back INTEGER NOT NULL DEFAULT 0 CHECK (taken_back >= 0),
  result TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE reversals (
  reversal_id TEXT PRIMARY KEY,
  fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
  sale_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  result TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE programs (
  version INTEGER PRIMARY KEY CHECK (version >= 1),
  program TEXT NOT NULL,
  received_at INTEGER NOT NULL
) STRICT;

-- Identifiers that were presented here and lead to nobody here. The value is erased as soon as the hub has it.
CREATE TABLE presented (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  scheme TEXT NOT NULL CHECK (scheme IN ('card', 'phone', 'email')),
  value TEXT,
  presented_at INTEGER NOT NULL,
  answer TEXT CHECK (answer IN ('known', 'unknown')),
  CHECK ((value IS NULL) = (answer IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX presented_unsent ON presented (presented_at) WHERE value IS NOT NULL;

-- Which cache file is the live one.
CREATE TABLE live_cache (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  number INTEGER NOT NULL CHECK (number >= 1)
) STRICT;

INSERT INTO live_cache (id, number) VALUES (1, 1);

-- Points are spent only inside allowances that the hub reserved for this till.

-- What this till knows of itself. `marker` stands in a file beside the database too, and both change at each start: a
-- database that came back from a backup does not fit the file. `latest_at` is the latest wall time that was seen since
-- the hub was heard; it and `heard_at` are milliseconds since 1970 UTC, and the monotonic clock is of that boot. The
-- hub's last word contains every event at a position below `contained_before`.
CREATE TABLE trust (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  marker TEXT NOT NULL,
  next_marker TEXT NOT NULL,
  is_clean INTEGER NOT NULL CHECK (is_clean IN (0, 1)),
  is_frozen INTEGER NOT NULL CHECK (is_frozen IN (0, 1)),
  latest_at INTEGER NOT NULL,
  heard_at INTEGER,
  heard_monotonic INTEGER,
  heard_boot TEXT,
  contained_before INTEGER NOT NULL DEFAULT 0,
  CHECK ((heard_at IS NULL) = (heard_monotonic IS NULL) AND (heard_at IS NULL) = (heard_boot IS NULL))
) STRICT;

-- The hub's last word, replaced whole: every open allowance of this till, and how far it contains each incarnation.
CREATE TABLE allowances (
  allowance_id TEXT PRIMARY KEY,
  customer_id TEXT NOT NULL,
  amount INTEGER NOT NULL CHECK (amount >= 1),
  spent INTEGER NOT NULL CHECK (spent >= 0),
  is_recalled INTEGER NOT NULL CHECK (is_recalled IN (0, 1)),
  ends_at INTEGER NOT NULL,
  ends_monotonic INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX allowances_of_customer ON allowances (customer_id);

CREATE TABLE word_coverage (
  inc TEXT PRIMARY KEY,
  through INTEGER NOT NULL CHECK (through >= 0)
) STRICT, WITHOUT ROWID;

-- What an event took from an allowance; null: it was returned, all that was left. Rows stay as long as the event does,
-- because a hub that comes back from a backup may contain less of them than it said before.
CREATE TABLE spends (
  allowance_id TEXT NOT NULL,
  inc TEXT NOT NULL,
  seq INTEGER NOT NULL CHECK (seq >= 1),
  position INTEGER NOT NULL,
  points INTEGER CHECK (points >= 1),
  PRIMARY KEY (allowance_id, inc, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX spends_by_position ON spends (position);

-- What the store gave beyond the allowances.
CREATE TABLE goodwill (
  subject BLOB NOT NULL CHECK (length(subject) = 16),
  inc TEXT NOT NULL,
  seq INTEGER NOT NULL CHECK (seq >= 1),
  points INTEGER NOT NULL CHECK (points >= 1),
  PRIMARY KEY (subject, inc, seq)
) STRICT, WITHOUT ROWID;

-- As with sales: an id is answered with its first result for ever.
CREATE TABLE redemptions (
  redemption_id TEXT PRIMARY KEY,
  fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
  position INTEGER NOT NULL,
  is_reversed INTEGER NOT NULL DEFAULT 0 CHECK (is_reversed IN (0, 1)),
  result TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE redemption_reversals (
  reversal_id TEXT PRIMARY KEY,
  fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
  redemption_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  result TEXT NOT NULL
) STRICT, WITHOUT ROWID;

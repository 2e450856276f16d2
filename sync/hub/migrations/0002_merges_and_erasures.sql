-- Which customer is merged into which: one edge each, ended by an unmerge. Never a sum that is written over another.
-- `wire` and `refs` are what was shown of the loser until then, for a till that still reads the pages of before.
CREATE TABLE merges (
    merge_id INTEGER PRIMARY KEY,
    loser TEXT NOT NULL,
    winner TEXT NOT NULL CHECK (winner <> loser),
    at_ms INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    wire TEXT CHECK (wire IS NULL OR undone_ms IS NULL),
    refs TEXT CHECK (refs IS NULL OR undone_ms IS NULL),
    undone_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX merges_standing ON merges (loser) WHERE undone_ms IS NULL;
CREATE INDEX merges_into ON merges (winner) WHERE undone_ms IS NULL;

-- Rows of the feed that one page must hold together, because between them points would stand twice, or a card lead to
-- two. A few rows each.
CREATE TABLE together (
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL CHECK (last >= first)
) STRICT;

-- What each customer of a merge is by itself, as imported; `customers` has what is shown: one row for all of them, under
-- the id of `root`, at which the edges end.
CREATE TABLE origins (
    customer_id TEXT PRIMARY KEY,
    root TEXT NOT NULL,
    wire TEXT NOT NULL,
    refs TEXT NOT NULL,
    identifiers TEXT NOT NULL CHECK (json_valid(identifiers))
) STRICT, WITHOUT ROWID;
CREATE INDEX origins_by_root ON origins (root);

-- Who was erased, and at which position of the feed the tills are told. The id alone; nothing of the person is left.
CREATE TABLE erasures (
    customer_id TEXT NOT NULL,
    pos INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (pos, customer_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX erasures_by_customer ON erasures (customer_id);

-- How far each till is known to have passed the erasures: it asked for what follows this position.
CREATE TABLE passed (
    terminal_id TEXT PRIMARY KEY,
    pos INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Identifiers of people who were erased. While one is closed, the points on it are nobody's and are shown nowhere. One
-- that is given to a customer later begins at 0: what was booked on it until then is `buried` (and not in `tallies`).
CREATE TABLE erased_identifiers (
    id TEXT PRIMARY KEY CHECK (length(id) = 32),
    is_closed INTEGER NOT NULL CHECK (is_closed IN (0, 1)),
    buried INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

DROP VIEW ledger;
-- Every booking with the account it belongs to now: its customer, or the bare identifier.
CREATE VIEW ledger (source, identifier, customer_id, points) AS
SELECT
    'event',
    identifier,
    (
        SELECT min(leads.customer_id)
        FROM identifiers AS leads
        WHERE leads.id = events.identifier
        HAVING count(*) = 1
    ),
    points
FROM events
WHERE points <> 0
UNION ALL
SELECT
    'opening',
    NULL,
    coalesce((SELECT root FROM origins WHERE origins.customer_id = openings.customer_id), openings.customer_id),
    points
FROM openings
UNION ALL
SELECT
    'buried',
    id,
    (
        SELECT min(leads.customer_id)
        FROM identifiers AS leads
        WHERE leads.id = erased_identifiers.id
        HAVING count(*) = 1
    ),
    -buried
FROM erased_identifiers
WHERE buried <> 0;

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
FROM openings;

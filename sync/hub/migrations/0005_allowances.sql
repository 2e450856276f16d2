-- Points of a customer that are reserved for one terminal, so that it may redeem offline. `account` is the customer whose
-- points it holds now (a merge changes it); what it still holds, amount - spent while it is open, is in
-- `balances.reserved`.
CREATE TABLE allowances (
    allowance_id TEXT PRIMARY KEY,
    terminal_id TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    account TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 1),
    spent INTEGER NOT NULL CHECK (spent BETWEEN 0 AND amount),
    granted_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    recalled_ms INTEGER,
    closed_ms INTEGER,
    closed_by TEXT CHECK (closed_by IN ('returned', 'released', 'erased')),
    CHECK ((closed_ms IS NULL) = (closed_by IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX allowances_of_terminal ON allowances (terminal_id) WHERE closed_ms IS NULL;
CREATE INDEX allowances_of_account ON allowances (account) WHERE closed_ms IS NULL;
CREATE INDEX allowances_closed ON allowances (closed_ms) WHERE closed_ms IS NOT NULL;

-- What was given for points: `booked` of them were the customer's, the rest is in `risks`. `covered` has the allowances
-- that paid, with their points.
CREATE TABLE redemptions (
    store_id TEXT NOT NULL,
    redemption_id TEXT NOT NULL,
    event INTEGER NOT NULL,
    terminal_id TEXT NOT NULL,
    identifier TEXT NOT NULL,
    points INTEGER NOT NULL CHECK (points >= 1),
    reward_id TEXT,
    booked INTEGER NOT NULL CHECK (booked BETWEEN 0 AND points),
    goodwill INTEGER NOT NULL CHECK (goodwill >= 0),
    risk INTEGER NOT NULL CHECK (risk >= 0 AND booked + goodwill + risk = points),
    covered TEXT NOT NULL CHECK (json_valid(covered)),
    is_reversed INTEGER NOT NULL CHECK (is_reversed IN (0, 1)),
    PRIMARY KEY (store_id, redemption_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE undoings (
    store_id TEXT NOT NULL,
    reversal_id TEXT NOT NULL,
    redemption_id TEXT NOT NULL,
    PRIMARY KEY (store_id, reversal_id)
) STRICT, WITHOUT ROWID;

-- Parked reversals by the redemption they wait for.
CREATE TABLE undoings_waiting (
    store_id TEXT NOT NULL,
    redemption_id TEXT NOT NULL,
    event INTEGER NOT NULL,
    PRIMARY KEY (store_id, redemption_id, event)
) STRICT, WITHOUT ROWID;

-- Points that a store gave beyond what the customer had: its cost, and in nobody's balance. Below 0 where the redemption
-- was taken back.
CREATE TABLE risks (
    risk INTEGER PRIMARY KEY,
    event INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('goodwill', 'uncovered')),
    points INTEGER NOT NULL CHECK (points <> 0),
    at_ms INTEGER NOT NULL
) STRICT;

-- The hub's own bookings beside the events. A `debt` is what a sale's reversal could not take, because it was spent or
-- reserved: above 0 owed, below 0 paid. An `adjustment` is the hub's gift where an account that was parted, or lost a
-- card, had spent more than was its own.
CREATE TABLE entries (
    entry INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('debt', 'adjustment')),
    identifier TEXT NOT NULL CHECK (length(identifier) = 32),
    points INTEGER NOT NULL CHECK (points <> 0),
    event INTEGER CHECK ((event IS NULL) = (kind = 'adjustment')),
    at_ms INTEGER NOT NULL
) STRICT;

ALTER TABLE balances ADD COLUMN reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0);
-- What is owed on identifiers that lead to this customer alone.
ALTER TABLE balances ADD COLUMN debt INTEGER NOT NULL DEFAULT 0 CHECK (debt >= 0);
ALTER TABLE tallies ADD COLUMN debt INTEGER NOT NULL DEFAULT 0 CHECK (debt >= 0);

-- After the hub was brought back from a backup: until when nothing is granted, and the terminals that are waited for.
-- `declared` has what a terminal said it has recorded, by incarnation; until its hello it is empty.
ALTER TABLE hub ADD COLUMN recovery_until_ms INTEGER;
CREATE TABLE recovering (
    terminal_id TEXT PRIMARY KEY,
    declared TEXT CHECK (declared IS NULL OR json_valid(declared))
) STRICT, WITHOUT ROWID;

-- The feed gets a kind: "ask again what you hold", to one terminal.
CREATE TABLE feed_with_allowances (
    pos INTEGER PRIMARY KEY CHECK (pos >= 1),
    kind TEXT NOT NULL CHECK (
        kind IN ('customer', 'balance', 'card', 'erased', 'out_of_scope', 'program', 'outcome', 'head', 'allowances')
    ),
    key TEXT NOT NULL,
    points INTEGER CHECK ((points IS NOT NULL) = (kind IN ('customer', 'balance', 'card'))),
    -- Only where a customer's identifiers changed here: what they were until then.
    refs_before TEXT CHECK (refs_before IS NULL OR kind = 'customer')
) STRICT;
INSERT INTO feed_with_allowances (pos, kind, key, points, refs_before)
SELECT pos, kind, key, points, refs_before FROM feed;
DROP TABLE feed;
ALTER TABLE feed_with_allowances RENAME TO feed;
CREATE INDEX feed_refs_before ON feed (key, pos) WHERE refs_before IS NOT NULL;
CREATE INDEX feed_outcomes ON feed (key, pos) WHERE kind = 'outcome';

DROP VIEW ledger;
-- Every booking with the account it belongs to now: its customer, or the bare identifier.
CREATE VIEW ledger (source, identifier, customer_id, points) AS
WITH bookings (source, identifier, points) AS (
    SELECT 'event', identifier, points FROM events WHERE points <> 0
    UNION ALL
    SELECT kind, identifier, points FROM entries
    UNION ALL
    SELECT 'buried', id, -buried FROM erased_identifiers WHERE buried <> 0
)
SELECT
    source,
    identifier,
    (SELECT min(leads.customer_id) FROM identifiers AS leads WHERE leads.id = bookings.identifier HAVING count(*) = 1),
    points
FROM bookings
UNION ALL
SELECT
    'opening',
    NULL,
    coalesce((SELECT root FROM origins WHERE origins.customer_id = openings.customer_id), openings.customer_id),
    points
FROM openings;

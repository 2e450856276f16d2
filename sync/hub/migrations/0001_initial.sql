-- The hub itself: one row. A new epoch tells every terminal to believe nothing it was told before.
CREATE TABLE hub (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch TEXT NOT NULL CHECK (length(epoch) = 16),
    identifier_key BLOB NOT NULL CHECK (length(identifier_key) = 32),
    feed_floor INTEGER NOT NULL DEFAULT 0 CHECK (feed_floor >= 0)
) STRICT;

-- Every version of the rules that was ever in force; events name the one they were made under.
CREATE TABLE programs (
    version INTEGER PRIMARY KEY CHECK (version >= 1),
    document TEXT NOT NULL CHECK (json_valid(document)),
    begun_ms INTEGER NOT NULL
) STRICT;

-- The changes in the order of their commits. A row that concerns an account holds its points as of that position, so
-- a page that ends anywhere shows every balance as it was there.
CREATE TABLE feed (
    pos INTEGER PRIMARY KEY CHECK (pos >= 1),
    kind TEXT NOT NULL CHECK (
        kind IN ('customer', 'balance', 'card', 'erased', 'out_of_scope', 'program', 'outcome', 'head')
    ),
    key TEXT NOT NULL,
    points INTEGER CHECK ((points IS NOT NULL) = (kind IN ('customer', 'balance', 'card'))),
    -- Only where a customer's identifiers changed here: what they were until then.
    refs_before TEXT CHECK (refs_before IS NULL OR kind = 'customer')
) STRICT;
CREATE INDEX feed_refs_before ON feed (key, pos) WHERE refs_before IS NOT NULL;

-- Profiles and identifiers as the wire carries them, so that a page or a snapshot is a join of texts.
CREATE TABLE customers (
    number INTEGER PRIMARY KEY,
    customer_id TEXT NOT NULL UNIQUE,
    wire TEXT NOT NULL,
    refs TEXT NOT NULL,
    pos INTEGER NOT NULL CHECK (pos >= 1)
) STRICT;

-- One identifier may lead to several customers; then it leads to nobody until a person decides.
CREATE TABLE identifiers (
    id TEXT NOT NULL CHECK (length(id) = 32),
    customer_id TEXT NOT NULL,
    scheme TEXT NOT NULL CHECK (scheme IN ('card', 'phone', 'email')),
    value TEXT NOT NULL,
    PRIMARY KEY (id, customer_id)
) STRICT, WITHOUT ROWID;

-- What was presented at a counter and leads to nobody. Apart from the ledger, so that it can be erased.
CREATE TABLE presented (
    id TEXT PRIMARY KEY CHECK (length(id) = 32),
    scheme TEXT NOT NULL CHECK (scheme IN ('card', 'phone', 'email')),
    value TEXT NOT NULL,
    terminal_id TEXT NOT NULL,
    presented_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE terminals (
    terminal_id TEXT PRIMARY KEY,
    store_id TEXT NOT NULL,
    name TEXT NOT NULL,
    credential_hash BLOB NOT NULL UNIQUE CHECK (length(credential_hash) = 32),
    -- The credential that was handed out last and not used yet; the old one serves until then.
    next_credential_hash BLOB UNIQUE CHECK (length(next_credential_hash) = 32),
    rotate INTEGER NOT NULL DEFAULT 0 CHECK (rotate IN (0, 1)),
    enrolled_ms INTEGER NOT NULL,
    revoked_ms INTEGER,
    hello_ms INTEGER,
    agent_version TEXT NOT NULL,
    waiting INTEGER CHECK (waiting >= 0),
    oldest_waiting_s INTEGER CHECK (oldest_waiting_s >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE invitations (
    handle TEXT PRIMARY KEY,
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    store_id TEXT NOT NULL,
    name TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    tries_left INTEGER NOT NULL CHECK (tries_left >= 0)
) STRICT, WITHOUT ROWID;

-- The head of each incarnation: all that is needed to know an event again, for ever.
CREATE TABLE streams (
    stream INTEGER PRIMARY KEY CHECK (stream >= 1),
    terminal_id TEXT NOT NULL,
    inc TEXT NOT NULL CHECK (length(inc) = 16),
    through INTEGER NOT NULL CHECK (through >= 0),
    last_pos INTEGER NOT NULL CHECK (last_pos >= 0),
    UNIQUE (terminal_id, inc)
) STRICT;
CREATE INDEX streams_moved ON streams (terminal_id, last_pos);

-- The ledger of record. `number` is stream and seq in one integer, so that the identity needs no index of its own.
-- Within a stream `pos` never falls as `seq` rises; `feed.covered` relies on that.
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    stream INTEGER GENERATED ALWAYS AS (number >> 32) VIRTUAL,
    seq INTEGER GENERATED ALWAYS AS (number & 4294967295) VIRTUAL,
    type TEXT NOT NULL,
    -- What the points are booked on: the identifier of the sale, for a reversal too.
    identifier TEXT CHECK (length(identifier) = 32),
    points INTEGER NOT NULL CHECK (points = 0 OR (outcome = 'applied' AND identifier IS NOT NULL)),
    outcome TEXT NOT NULL CHECK (outcome IN ('applied', 'rejected', 'parked')),
    reason TEXT CHECK ((reason IS NULL) = (outcome = 'applied')),
    pos INTEGER NOT NULL CHECK (pos >= 1),
    received_ms INTEGER NOT NULL,
    raw TEXT NOT NULL
) STRICT;
CREATE INDEX events_parked ON events (type, number) WHERE outcome = 'parked';

CREATE TABLE sales (
    store_id TEXT NOT NULL,
    sale_id TEXT NOT NULL,
    event INTEGER NOT NULL,
    identifier TEXT NOT NULL,
    points INTEGER NOT NULL CHECK (points >= 0),
    taken_back INTEGER NOT NULL CHECK (taken_back BETWEEN 0 AND points),
    PRIMARY KEY (store_id, sale_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE reversals (
    store_id TEXT NOT NULL,
    reversal_id TEXT NOT NULL,
    sale_id TEXT NOT NULL,
    PRIMARY KEY (store_id, reversal_id)
) STRICT, WITHOUT ROWID;

-- Parked reversals by the sale they wait for.
CREATE TABLE waiting (
    store_id TEXT NOT NULL,
    sale_id TEXT NOT NULL,
    event INTEGER NOT NULL,
    PRIMARY KEY (store_id, sale_id, event)
) STRICT, WITHOUT ROWID;

-- What a customer's balance began with: booked once, when the customer is first imported.
CREATE TABLE openings (
    customer_id TEXT PRIMARY KEY,
    points INTEGER NOT NULL CHECK (points > 0),
    pos INTEGER NOT NULL,
    imported_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Sums of the ledger, kept in the transaction that books: by identifier, and by customer.
CREATE TABLE tallies (
    identifier TEXT PRIMARY KEY CHECK (length(identifier) = 32),
    points INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE balances (
    customer_id TEXT PRIMARY KEY,
    points INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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
SELECT 'opening', NULL, customer_id, points FROM openings;

-- The chain over the events of an incarnation (sync/contract/chain.py), at `through`; null where it has to be folded from
-- the events, because they came before it was kept.
ALTER TABLE streams ADD COLUMN chain BLOB CHECK (length(chain) = 32);

-- The Ed25519 key that a terminal signs its uploads with; null where it was enrolled before terminals had keys and has
-- not said hello since.
ALTER TABLE terminals ADD COLUMN public_key TEXT CHECK (length(public_key) = 64);

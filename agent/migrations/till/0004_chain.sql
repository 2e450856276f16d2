-- The chain over the events of an incarnation (sync/contract/chain.py), so that an upload can be signed without reading
-- what went before it.

-- The chain at acked_through; null where it has to be worked out from the journal.
ALTER TABLE incarnations ADD COLUMN acked_chain BLOB CHECK (length(acked_chain) = 32);

-- The digest of the event that stood here; null where it is lost too.
ALTER TABLE bygone ADD COLUMN digest BLOB CHECK (length(digest) = 32);

-- One process of a terminal runs at a time. `running` is the incarnation of the one that said hello last, and `fence` counts
-- the changes: an upload names it, so that what a process sent before it ended is told from one that lives.
-- `is_proven` once the running process sent something under its fence, and so is alive. `is_suspect` where it told of
-- events that were left behind: a process that did not have them ran in between.
ALTER TABLE terminals ADD COLUMN running TEXT;
ALTER TABLE terminals ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE terminals ADD COLUMN is_proven INTEGER NOT NULL DEFAULT 0 CHECK (is_proven IN (0, 1));
ALTER TABLE terminals ADD COLUMN is_suspect INTEGER NOT NULL DEFAULT 0 CHECK (is_suspect IN (0, 1));
-- Since when its new events are parked, because two histories of it met. Null: it is not quarantined.
ALTER TABLE terminals ADD COLUMN quarantined_ms INTEGER;

-- No event behind this seq is of this incarnation any more; null while it runs. `fenced_by` is the fence that said so.
ALTER TABLE streams ADD COLUMN fenced_at INTEGER CHECK (fenced_at >= 0);
ALTER TABLE streams ADD COLUMN fenced_by INTEGER CHECK ((fenced_by IS NULL) = (fenced_at IS NULL));
-- Whether the process that came next did not have it.
ALTER TABLE streams ADD COLUMN is_left INTEGER NOT NULL DEFAULT 0 CHECK (is_left IN (0, 1));
-- Events that came under an identity which the incarnation `fork_of` has other events for, or behind such; the first of
-- them has the seq `fork_at`.
ALTER TABLE streams ADD COLUMN fork_of TEXT;
ALTER TABLE streams ADD COLUMN fork_at INTEGER CHECK ((fork_at IS NULL) = (fork_of IS NULL));
CREATE INDEX streams_forked ON streams (terminal_id, fork_of) WHERE fork_of IS NOT NULL;

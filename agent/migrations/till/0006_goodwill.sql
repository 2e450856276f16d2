-- What the store gave a customer counts for a day, whatever the hub has heard of it meanwhile, so each row says when it
-- was given: milliseconds since 1970 UTC, and the monotonic clock of that boot. By its position it is counted with the
-- spends that the hub's word does not contain. A row whose event was pruned is older than a day.
CREATE TABLE goodwill_with_time (
  position INTEGER PRIMARY KEY,
  subject BLOB NOT NULL CHECK (length(subject) = 16),
  inc TEXT NOT NULL,
  seq INTEGER NOT NULL CHECK (seq >= 1),
  points INTEGER NOT NULL CHECK (points >= 1),
  given_at INTEGER NOT NULL,
  given_monotonic INTEGER NOT NULL,
  given_boot TEXT NOT NULL
) STRICT;

INSERT INTO goodwill_with_time (position, subject, inc, seq, points, given_at, given_monotonic, given_boot)
SELECT j.position, g.subject, g.inc, g.seq, g.points, j.recorded_at, j.event ->> '$.monoms', j.event ->> '$.bootid'
FROM goodwill g
JOIN incarnations i ON i.inc = g.inc
JOIN journal j ON j.position = i.first_position + g.seq - 1;

DROP TABLE goodwill;

ALTER TABLE goodwill_with_time RENAME TO goodwill;

CREATE INDEX goodwill_by_subject ON goodwill (subject);

-- Which small file beside this one fits it: the one named here, or the next, because the two are not written at once.
-- No row in a file from before there were any.
CREATE TABLE marker (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    marker TEXT NOT NULL,
    next_marker TEXT NOT NULL
) STRICT;

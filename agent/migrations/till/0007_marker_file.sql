-- What no copy of the file with `marker` can have: its number on the disk, and when that was last changed. Null where
-- that is not known: a marker that was taken up by a version before, or of which there was no file.
ALTER TABLE trust ADD COLUMN marker_file TEXT;

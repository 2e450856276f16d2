-- Who owes is looked for when a recovery ends; hardly anybody does.
CREATE INDEX tallies_owing ON tallies (identifier) WHERE debt > 0;

-- What is parked for a reason is judged in the order in which it came, a few events at a time.
CREATE INDEX events_parked_in_order ON events (reason, pos) WHERE outcome = 'parked';

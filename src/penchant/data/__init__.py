"""Floor 1: tables, readers, checks, the event log, snapshots and splits."""

"""Contract suites, tiny data with known answers and a clock that tests hold. Imported by tests only."""

"""Benchmarks: each compares Penchant with a peer, paired in one run. See README.md here."""

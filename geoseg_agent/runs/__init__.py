"""What everything that asks many questions shares, a benchmark and a batch: lines, locks, pace, and what was paid."""

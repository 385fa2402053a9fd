"""Everything that happened to a query, in one file that replays."""

"""Read side: what the events add up to. Its tables can be thrown away and rebuilt from the log."""

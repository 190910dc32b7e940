"""Write side: commands in, events out. Knows no HTTP and no read model."""

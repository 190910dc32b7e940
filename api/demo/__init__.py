"""The demo's broker: made-up clients, three months of their money and trades, the same for the same seed."""

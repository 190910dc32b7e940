"""Every speed claim of this service, measured as a ratio to a limit that is measured in the same run."""

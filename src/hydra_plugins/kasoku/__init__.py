"""The door through which Hydra finds kasoku's sweeper."""

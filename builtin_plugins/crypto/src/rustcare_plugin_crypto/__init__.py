"""Keys that never leave, and what is done with them: a keyring and its operations as services on the bus."""

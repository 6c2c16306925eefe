"""People and machines: accounts, sessions, tokens, MFA, keys, tenants."""

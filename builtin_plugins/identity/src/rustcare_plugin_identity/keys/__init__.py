"""Machines: service accounts, API keys and client certificates.

| module | one idea |
|---|---|
| `format` | the form of API keys |
| `api_keys` | keys and certificates as credentials of accounts |
| `services` | machines and their credentials on the bus |
"""

"""The FHIR R4 resource store, by services on the bus. Every version is kept.

The way of a write: `resource` checks it → `engine` decides, for many requests in one transaction → `store` holds the SQL
→ `plugin` answers and publishes events. `types` lists R4's resource types; `errors` the codes.
"""

"""SCIM 2.0 (RFC 7643 and 7644): users and groups, provisioned by the directories of those who run a tenant."""

"""The operator's API over HTTP."""

"""The front door: HTTP for plugins, with authentication, tenants, rate limits and tracing."""

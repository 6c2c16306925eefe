"""A SCIM client over httpx, for the checks of scim2-tester."""

from __future__ import annotations

from typing import Any

import httpx
from scim2_client import BaseSyncSCIMClient

__all__ = ["HttpxScimClient"]


class HttpxScimClient(BaseSyncSCIMClient):
    """Talks to a running server; `client` has the base URL of the SCIM endpoints and the credential."""

    def __init__(self, client: httpx.Client) -> None:
        super().__init__()
        self._client = client

    def _stays_under_base_url(self, endpoint: str) -> bool:
        url = self._client.build_request("GET", endpoint).url
        base = self._client.base_url
        return (url.scheme, url.netloc) == (base.scheme, base.netloc) and url.raw_path.startswith(base.raw_path)

    def _parse_json(self, response: Any) -> Any:
        return response.json()

    def request(self, method: str, url: str, **kwargs: Any) -> Any:
        """One request, as scim2-client asks for it."""
        return self._client.request(method, url, **kwargs)

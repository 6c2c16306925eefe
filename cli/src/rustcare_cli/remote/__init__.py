"""A kernel on another machine: its front door over HTTP.

_http     one connection, TLS or loopback, requests and answers as bytes
tokens    the tokens of `rustcare login`, in a file that only its owner reads
client    `RemoteClient`: the control API, with the interface of the control socket's client
device    signing in as a device does (RFC 8628)
login     the commands `login`, `logout` and `whoami`
"""

__all__: list[str] = []

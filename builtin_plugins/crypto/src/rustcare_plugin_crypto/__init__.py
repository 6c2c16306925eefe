"""Keys that never leave, and what is done with them: a keyring and its operations as services on the bus.

Lowest floor first:

| module | one idea |
|---|---|
| `errors`, `refusals` | what can go wrong with bytes, and with keys |
| `algorithms` | every algorithm, as functions over bytes |
| `envelope` | wrapping under the keyring key |
| `roots` | what wraps the keyring key |
| `keyring` | named keys with versions |
| `operations`, `streams` | ciphertexts, and large ones in chunks |
| `certificates` | what the keyring states and signs |
| `custody` | import, export, backup |
| `subjects` | keys of persons, which can be destroyed |
| `campaigns` | everything under one version, with a proof |
| `schedule` | rotation when it is due |
| `transit` | the transit HTTP API |
| `services` | all of it on the bus; `plugin` puts it together |
"""

"""Keys and what is done with them, on the bus. A key is named; its secret part never leaves the keyring.

A key belongs to the tenant whose message made it; keys of the default tenant serve messages of every tenant.
Fields that may hold secrets, keys or plaintext are left out of `repr`.

| service | request | answer |
|---|---|---|
| `crypto.key.create` | `KeyCreateRequest` | `KeyInfo` |
| `crypto.key.read` | `KeyRequest` | `KeyInfo` |
| `crypto.key.list` | `KeyListRequest` | `KeyListReply` |
| `crypto.key.public` | `KeyPublicRequest` | `KeyPublicReply` |
| `crypto.key.rotate` | `KeyRequest` | `KeyInfo` |
| `crypto.key.configure` | `KeyConfigureRequest` | `KeyInfo` |
| `crypto.key.state` | `KeyStateRequest` | `KeyInfo` |
| `crypto.key.destroy` | `KeyDestroyRequest` | `KeyInfo` |
| `crypto.key.trim` | `KeyTrimRequest` | `KeyInfo` |
| `crypto.key.export` | `KeyExportRequest` | `KeyExportReply` |
| `crypto.key.wrapping` | `KeyWrappingRequest` | `KeyWrappingReply` |
| `crypto.key.import` | `KeyImportRequest` | `KeyInfo` |
| `crypto.key.backup` | `KeyBackupRequest` | `KeyBackupReply` |
| `crypto.key.restore` | `KeyRestoreRequest` | `KeyInfo` |
| `crypto.jwks` | `JwksRequest` | `JwksReply` |
| `crypto.encrypt` | `EncryptRequest` | `EncryptReply` |
| `crypto.decrypt` | `DecryptRequest` | `DecryptReply` |
| `crypto.rewrap` | `RewrapRequest` | `EncryptReply` |
| `crypto.datakey` | `DatakeyRequest` | `DatakeyReply` |
| `crypto.stream.seal` | `StreamRequest` | `StreamReply` |
| `crypto.stream.open` | `StreamRequest` | `StreamReply` |
| `crypto.sign` | `SignRequest` | `SignReply` |
| `crypto.verify` | `VerifyRequest` | `VerifyReply` |
| `crypto.hmac` | `HmacRequest` | `HmacReply` |
| `crypto.hmac.verify` | `VerifyRequest` | `VerifyReply` |
| `crypto.token` | `TokenRequest` | `TokenReply` |
| `crypto.hpke.seal` | `HpkeSealRequest` | `EncryptReply` |
| `crypto.hpke.open` | `DecryptRequest` | `DecryptReply` |
| `crypto.agree` | `AgreeRequest` | `SecretReply` |
| `crypto.encapsulate` | `EncapsulateRequest` | `EncapsulateReply` |
| `crypto.decapsulate` | `DecapsulateRequest` | `SecretReply` |
| `crypto.hkdf` | `HkdfRequest` | `SecretReply` |
| `crypto.random` | `RandomRequest` | `SecretReply` |
| `crypto.hash` | `HashRequest` | `HashReply` |
| `crypto.password.hash` | `PasswordHashRequest` | `PasswordHashReply` |
| `crypto.password.verify` | `PasswordVerifyRequest` | `PasswordVerifyReply` |
| `crypto.dsse.sign` | `DsseSignRequest` | `DsseSignReply` |
| `crypto.dsse.verify` | `DsseVerifyRequest` | `DsseVerifyReply` |
| `crypto.root.status` | `RootStatusRequest` | `RootStatus` |
| `crypto.root.rotate` | `RootRotateRequest` | `RootStatus` |
| `crypto.campaign.begin` | `CampaignBeginRequest` | `CampaignStatus` |
| `crypto.campaign.report` | `CampaignReportRequest` | `CampaignReportReply` |
| `crypto.campaign.finish` | `CampaignFinishRequest` | `CampaignProof` |
| `crypto.effects` | `audit.EffectsRequest` | `audit.EffectsReply` |
| `crypto.transit` | `TransitRequest` | `TransitReply` |
| `crypto.subject.seal` | `SealRequest` | `SealReply` |
| `crypto.subject.open` | `OpenRequest` | `OpenReply` |
| `crypto.subject.pseudonym` | `PseudonymRequest` | `PseudonymReply` |
| `crypto.subject.shred` | `ShredRequest` | `ShredReply` |
"""

from __future__ import annotations

from ._crypto_keys import (
    CampaignBeginRequest,
    CampaignFinishRequest,
    CampaignProof,
    CampaignReportReply,
    CampaignReportRequest,
    CampaignStatus,
    JwksReply,
    JwksRequest,
    KeyBackupReply,
    KeyBackupRequest,
    KeyConfigureRequest,
    KeyCreateRequest,
    KeyDestroyRequest,
    KeyExportReply,
    KeyExportRequest,
    KeyImportRequest,
    KeyInfo,
    KeyListReply,
    KeyListRequest,
    KeyPublicReply,
    KeyPublicRequest,
    KeyRequest,
    KeyRestoreRequest,
    KeyStateRequest,
    KeyTrimRequest,
    KeyVersion,
    KeyWrappingReply,
    KeyWrappingRequest,
    RootRotateRequest,
    RootStatus,
    RootStatusRequest,
)
from ._crypto_operations import (
    AgreeRequest,
    CipherItem,
    DatakeyReply,
    DatakeyRequest,
    DecapsulateRequest,
    DecryptReply,
    DecryptRequest,
    DsseSignReply,
    DsseSignRequest,
    DsseVerifyReply,
    DsseVerifyRequest,
    EncapsulateReply,
    EncapsulateRequest,
    EncryptReply,
    EncryptRequest,
    HashReply,
    HashRequest,
    HkdfRequest,
    HmacReply,
    HmacRequest,
    HpkeSealRequest,
    PasswordHashReply,
    PasswordHashRequest,
    PasswordVerifyReply,
    PasswordVerifyRequest,
    PlainItem,
    RandomRequest,
    RewrapRequest,
    SecretReply,
    SignReply,
    SignRequest,
    StreamReply,
    StreamRequest,
    TokenReply,
    TokenRequest,
    TransitReply,
    TransitRequest,
    VerifyItem,
    VerifyReply,
    VerifyRequest,
)
from ._crypto_subjects import (
    Opened,
    OpenItem,
    OpenReply,
    OpenRequest,
    PseudonymReply,
    PseudonymRequest,
    SealItem,
    SealReply,
    SealRequest,
    ShredReply,
    ShredRequest,
)

__all__ = [
    "AGREE",
    "CAMPAIGN_BEGIN",
    "CAMPAIGN_FINISH",
    "CAMPAIGN_REPORT",
    "DATAKEY",
    "DECAPSULATE",
    "DECRYPT",
    "DESTROYED",
    "DSSE_SIGN",
    "DSSE_VERIFY",
    "EFFECTS",
    "ENCAPSULATE",
    "ENCRYPT",
    "HASH",
    "HKDF",
    "HMAC",
    "HMAC_VERIFY",
    "HPKE_OPEN",
    "HPKE_SEAL",
    "JWKS",
    "KEY_BACKUP",
    "KEY_CONFIGURE",
    "KEY_CREATE",
    "KEY_DESTROY",
    "KEY_EXPORT",
    "KEY_IMPORT",
    "KEY_LIST",
    "KEY_PUBLIC",
    "KEY_READ",
    "KEY_RESTORE",
    "KEY_ROTATE",
    "KEY_STATE",
    "KEY_TRIM",
    "KEY_WRAPPING",
    "PASSWORD_HASH",
    "PASSWORD_VERIFY",
    "RANDOM",
    "REWRAP",
    "ROOT_ROTATE",
    "ROOT_STATUS",
    "ROTATED",
    "SHREDDED",
    "SIGN",
    "STREAM_OPEN",
    "STREAM_SEAL",
    "SUBJECT_OPEN",
    "SUBJECT_PSEUDONYM",
    "SUBJECT_SEAL",
    "SUBJECT_SHRED",
    "TOKEN",
    "TRANSIT",
    "VERIFY",
    "AgreeRequest",
    "CampaignBeginRequest",
    "CampaignFinishRequest",
    "CampaignProof",
    "CampaignReportReply",
    "CampaignReportRequest",
    "CampaignStatus",
    "CipherItem",
    "DatakeyReply",
    "DatakeyRequest",
    "DecapsulateRequest",
    "DecryptReply",
    "DecryptRequest",
    "DsseSignReply",
    "DsseSignRequest",
    "DsseVerifyReply",
    "DsseVerifyRequest",
    "EncapsulateReply",
    "EncapsulateRequest",
    "EncryptReply",
    "EncryptRequest",
    "HashReply",
    "HashRequest",
    "HkdfRequest",
    "HmacReply",
    "HmacRequest",
    "HpkeSealRequest",
    "JwksReply",
    "JwksRequest",
    "KeyBackupReply",
    "KeyBackupRequest",
    "KeyConfigureRequest",
    "KeyCreateRequest",
    "KeyDestroyRequest",
    "KeyExportReply",
    "KeyExportRequest",
    "KeyImportRequest",
    "KeyInfo",
    "KeyListReply",
    "KeyListRequest",
    "KeyPublicReply",
    "KeyPublicRequest",
    "KeyRequest",
    "KeyRestoreRequest",
    "KeyStateRequest",
    "KeyTrimRequest",
    "KeyVersion",
    "KeyWrappingReply",
    "KeyWrappingRequest",
    "OpenItem",
    "OpenReply",
    "OpenRequest",
    "Opened",
    "PasswordHashReply",
    "PasswordHashRequest",
    "PasswordVerifyReply",
    "PasswordVerifyRequest",
    "PlainItem",
    "PseudonymReply",
    "PseudonymRequest",
    "RandomRequest",
    "RewrapRequest",
    "RootRotateRequest",
    "RootStatus",
    "RootStatusRequest",
    "SealItem",
    "SealReply",
    "SealRequest",
    "SecretReply",
    "ShredReply",
    "ShredRequest",
    "SignReply",
    "SignRequest",
    "StreamReply",
    "StreamRequest",
    "TokenReply",
    "TokenRequest",
    "TransitReply",
    "TransitRequest",
    "VerifyItem",
    "VerifyReply",
    "VerifyRequest",
]

#: Service: make a named key (`KeyCreateRequest` → `KeyInfo`).
KEY_CREATE = "crypto.key.create"
#: Service: what is known of a key (`KeyRequest` → `KeyInfo`).
KEY_READ = "crypto.key.read"
#: Service: the keys of the tenant (`KeyListRequest` → `KeyListReply`).
KEY_LIST = "crypto.key.list"
#: Service: the public part of a key (`KeyPublicRequest` → `KeyPublicReply`).
KEY_PUBLIC = "crypto.key.public"
#: Service: a new primary version (`KeyRequest` → `KeyInfo`).
KEY_ROTATE = "crypto.key.rotate"
#: Service: change the settings of a key (`KeyConfigureRequest` → `KeyInfo`).
KEY_CONFIGURE = "crypto.key.configure"
#: Service: disable, enable or promote a version (`KeyStateRequest` → `KeyInfo`).
KEY_STATE = "crypto.key.state"
#: Service: destroy a version, or the whole key (`KeyDestroyRequest` → `KeyInfo`).
KEY_DESTROY = "crypto.key.destroy"
#: Service: destroy all versions below one (`KeyTrimRequest` → `KeyInfo`).
KEY_TRIM = "crypto.key.trim"
#: Service: the secret part of an exportable key (`KeyExportRequest` → `KeyExportReply`).
KEY_EXPORT = "crypto.key.export"
#: Service: the public key to wrap imports with (`KeyWrappingRequest` → `KeyWrappingReply`).
KEY_WRAPPING = "crypto.key.wrapping"
#: Service: bring a key of one's own (`KeyImportRequest` → `KeyInfo`).
KEY_IMPORT = "crypto.key.import"
#: Service: a wrapped copy of a key, all versions (`KeyBackupRequest` → `KeyBackupReply`).
KEY_BACKUP = "crypto.key.backup"
#: Service: put a backup back (`KeyRestoreRequest` → `KeyInfo`).
KEY_RESTORE = "crypto.key.restore"
#: Service: public keys as a JWK Set (`JwksRequest` → `JwksReply`).
JWKS = "crypto.jwks"
#: Service: encrypt (`EncryptRequest` → `EncryptReply`).
ENCRYPT = "crypto.encrypt"
#: Service: decrypt (`DecryptRequest` → `DecryptReply`).
DECRYPT = "crypto.decrypt"
#: Service: encrypt anew under the primary version (`RewrapRequest` → `EncryptReply`).
REWRAP = "crypto.rewrap"
#: Service: a fresh key, wrapped (`DatakeyRequest` → `DatakeyReply`).
DATAKEY = "crypto.datakey"
#: Service: encrypt a large object in chunks (`StreamRequest` → `StreamReply`).
STREAM_SEAL = "crypto.stream.seal"
#: Service: decrypt a large object in chunks (`StreamRequest` → `StreamReply`).
STREAM_OPEN = "crypto.stream.open"
#: Service: sign (`SignRequest` → `SignReply`).
SIGN = "crypto.sign"
#: Service: verify signatures (`VerifyRequest` → `VerifyReply`).
VERIFY = "crypto.verify"
#: Service: message authentication codes (`HmacRequest` → `HmacReply`).
HMAC = "crypto.hmac"
#: Service: check message authentication codes (`VerifyRequest` → `VerifyReply`).
HMAC_VERIFY = "crypto.hmac.verify"
#: Service: keyed search tokens (`TokenRequest` → `TokenReply`).
TOKEN = "crypto.token"
#: Service: encrypt to a public key (RFC 9180) (`HpkeSealRequest` → `EncryptReply`).
HPKE_SEAL = "crypto.hpke.seal"
#: Service: decrypt what was sealed to a key (`DecryptRequest` → `DecryptReply`).
HPKE_OPEN = "crypto.hpke.open"
#: Service: Diffie-Hellman, then HKDF (`AgreeRequest` → `SecretReply`).
AGREE = "crypto.agree"
#: Service: a shared secret for a public key (`EncapsulateRequest` → `EncapsulateReply`).
ENCAPSULATE = "crypto.encapsulate"
#: Service: the shared secret, from the other side (`DecapsulateRequest` → `SecretReply`).
DECAPSULATE = "crypto.decapsulate"
#: Service: derive (RFC 5869) (`HkdfRequest` → `SecretReply`).
HKDF = "crypto.hkdf"
#: Service: random bytes (`RandomRequest` → `SecretReply`).
RANDOM = "crypto.random"
#: Service: hashes (`HashRequest` → `HashReply`).
HASH = "crypto.hash"
#: Service: hash a password (argon2id) (`PasswordHashRequest` → `PasswordHashReply`).
PASSWORD_HASH = "crypto.password.hash"
#: Service: check a password (`PasswordVerifyRequest` → `PasswordVerifyReply`).
PASSWORD_VERIFY = "crypto.password.verify"
#: Service: a signed envelope (`DsseSignRequest` → `DsseSignReply`).
DSSE_SIGN = "crypto.dsse.sign"
#: Service: check a signed envelope (`DsseVerifyRequest` → `DsseVerifyReply`).
DSSE_VERIFY = "crypto.dsse.verify"
#: Service: what the keyring is wrapped with (`RootStatusRequest` → `RootStatus`).
ROOT_STATUS = "crypto.root.status"
#: Service: wrap the keyring with another root (`RootRotateRequest` → `RootStatus`).
ROOT_ROTATE = "crypto.root.rotate"
#: Service: begin to rewrap everything under a key (`CampaignBeginRequest` → `CampaignStatus`).
CAMPAIGN_BEGIN = "crypto.campaign.begin"
#: Service: hand in a page of ciphertexts (`CampaignReportRequest` → `CampaignReportReply`).
CAMPAIGN_REPORT = "crypto.campaign.report"
#: Service: the proof that none is left (`CampaignFinishRequest` → `CampaignProof`).
CAMPAIGN_FINISH = "crypto.campaign.finish"
#: Service: which recorded attempts to change something took effect (`audit.EffectsRequest` → `audit.EffectsReply`).
EFFECTS = "crypto.effects"
#: Service: the transit HTTP API, for a gateway to mount (`TransitRequest` → `TransitReply`).
TRANSIT = "crypto.transit"
#: Service: encrypt under the keys of subjects such as patients (`SealRequest` → `SealReply`).
SUBJECT_SEAL = "crypto.subject.seal"
#: Service: decrypt what was sealed (`OpenRequest` → `OpenReply`).
SUBJECT_OPEN = "crypto.subject.open"
#: Service: the pseudonyms of subjects (`PseudonymRequest` → `PseudonymReply`).
SUBJECT_PSEUDONYM = "crypto.subject.pseudonym"
#: Service: destroy the key of a subject (`ShredRequest` → `ShredReply`).
SUBJECT_SHRED = "crypto.subject.shred"
#: Event: a key has a new primary version (`KeyInfo`).
ROTATED = "crypto.key.rotated"
#: Event: versions of a key were destroyed (`KeyInfo`).
DESTROYED = "crypto.key.destroyed"
#: Event: the key of a subject was destroyed (`ShredReply`).
SHREDDED = "crypto.subject.shredded"

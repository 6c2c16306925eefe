-- Every version of every resource, in the order they were written. `content` is the resource's JSON, `meta` included.
CREATE TABLE versions (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant TEXT NOT NULL,
    ref TEXT NOT NULL,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    digest TEXT NOT NULL,
    updated TEXT NOT NULL,
    source TEXT NOT NULL,
    content TEXT NOT NULL
);
CREATE UNIQUE INDEX versions_ref ON versions (tenant, ref, version);

-- Where each resource (`Patient/123`) stands.
CREATE TABLE resources (
    tenant TEXT NOT NULL,
    ref TEXT NOT NULL,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (tenant, ref)
);

-- Requests of `fhir.store` that were carried out, with their answers: a repeated key changes nothing.
CREATE TABLE requests (
    tenant TEXT NOT NULL,
    request_key TEXT NOT NULL,
    reply TEXT NOT NULL,
    stored TEXT NOT NULL,
    PRIMARY KEY (tenant, request_key)
);

-- oldest-compatible: 1

-- The webhook secret that a key had before its last rotation: until then webhooks are signed with both, so that a
-- receiver can change to the new one at any moment in between. Encrypted as the present one is, for the same owner.
CREATE TABLE retired_webhook_secrets (
    key_id text PRIMARY KEY REFERENCES api_keys (id) ON DELETE CASCADE,
    secret bytea NOT NULL,
    secret_key_id text NOT NULL,
    valid_until timestamptz NOT NULL
);

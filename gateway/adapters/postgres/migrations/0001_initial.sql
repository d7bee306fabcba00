-- oldest-compatible: 1

CREATE TABLE accounts (
    id text PRIMARY KEY,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    created_at timestamptz(3) NOT NULL DEFAULT now()
);

CREATE TABLE users (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts,
    email text NOT NULL CHECK (char_length(email) BETWEEN 3 AND 254),
    password_hash text NOT NULL,
    role text NOT NULL CHECK (role IN ('member', 'admin')),
    disabled boolean NOT NULL DEFAULT false,
    created_at timestamptz(3) NOT NULL DEFAULT now()
);

-- An address is one login however it is capitalised.
CREATE UNIQUE INDEX users_email ON users (lower(email));

-- last_used_at changes all the time: the room left on each page lets that happen without touching an index.
CREATE TABLE api_keys (
    id text PRIMARY KEY CHECK (char_length(id) BETWEEN 1 AND 100),
    account_id text NOT NULL REFERENCES accounts,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    description text,
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    rate_limit_per_hour bigint NOT NULL CHECK (rate_limit_per_hour BETWEEN 1 AND 1000000000),
    algorithm text CHECK (algorithm IN ('token_bucket', 'sliding_window')),
    status text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'SUSPENDED', 'REVOKED')),
    allowed_ips text[],
    expires_at timestamptz(3),
    webhook_url text,
    webhook_secret bytea,
    webhook_secret_key_id text,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    updated_at timestamptz(3) NOT NULL DEFAULT now(),
    last_used_at timestamptz(3),
    deleted_at timestamptz(3),
    CHECK ((webhook_secret IS NULL) = (webhook_secret_key_id IS NULL))
) WITH (fillfactor = 80);

CREATE INDEX api_keys_newest_of_account ON api_keys (account_id, created_at DESC, id) WHERE deleted_at IS NULL;

CREATE TABLE key_secrets (
    digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    key_id text NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    prefix text NOT NULL CHECK (char_length(prefix) <= 12),
    valid_until timestamptz(3)
);

CREATE INDEX key_secrets_key ON key_secrets (key_id);

-- The secret without an end is the current one, whose prefix the key is shown with.
CREATE UNIQUE INDEX key_secrets_current ON key_secrets (key_id) WHERE valid_until IS NULL;

CREATE TABLE signing_keys (
    kid text PRIMARY KEY,
    algorithm text NOT NULL,
    private_key bytea NOT NULL,
    secret_key_id text NOT NULL,
    public_jwk jsonb NOT NULL,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    not_after timestamptz(3)
);

CREATE TABLE usage_events (
    day date NOT NULL,
    id uuid NOT NULL,
    at timestamptz(3) NOT NULL,
    request_id text NOT NULL,
    account_id text,
    key_id text,
    route text NOT NULL,
    endpoint text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    client_ip text NOT NULL,
    status smallint,
    outcome text NOT NULL,
    upstream text,
    target text,
    duration_us bigint NOT NULL,
    upstream_us bigint,
    bytes_in bigint NOT NULL,
    bytes_out bigint NOT NULL,
    mode text NOT NULL,
    config_version text NOT NULL,
    schema smallint NOT NULL,
    PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);

CREATE INDEX usage_events_of_key ON usage_events (key_id, at) WHERE key_id IS NOT NULL;

CREATE TABLE journal_offsets (
    journal text PRIMARY KEY,
    position bigint NOT NULL CHECK (position >= 0),
    updated_at timestamptz(3) NOT NULL DEFAULT now()
);

-- Changes are announced by id alone: a payload has room for 8,000 bytes, and readers want the row as it is by then.
CREATE FUNCTION announce_key_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('gateway_keys', 'key:' || CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END);
    RETURN NULL;
END
$$;

CREATE TRIGGER key_made_or_gone AFTER INSERT OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION announce_key_change();

-- All columns but one, so that a column added later is announced without anybody thinking of it here.
CREATE TRIGGER key_changed AFTER UPDATE ON api_keys
    FOR EACH ROW WHEN (to_jsonb(OLD) - 'last_used_at' IS DISTINCT FROM to_jsonb(NEW) - 'last_used_at')
    EXECUTE FUNCTION announce_key_change();

CREATE FUNCTION announce_secret_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM pg_notify('gateway_keys', 'secret:' || encode(NEW.digest, 'hex'));
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('gateway_keys', 'key:' || OLD.key_id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('gateway_keys', 'key:' || NEW.key_id);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER secret_changed AFTER INSERT OR UPDATE OR DELETE ON key_secrets
    FOR EACH ROW EXECUTE FUNCTION announce_secret_change();

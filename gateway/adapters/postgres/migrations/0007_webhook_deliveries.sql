-- oldest-compatible: 1

-- Which events a key's webhook gets (null: all), and whether they are sent. While it is not ACTIVE they wait.
ALTER TABLE api_keys ADD COLUMN webhook_events text[];
ALTER TABLE api_keys ADD COLUMN webhook_status text NOT NULL DEFAULT 'ACTIVE'
    CHECK (webhook_status IN ('ACTIVE', 'PAUSED', 'DISABLED'));

CREATE INDEX api_keys_with_webhook ON api_keys (account_id) WHERE webhook_url IS NOT NULL AND deleted_at IS NULL;

-- Events that somebody is to be told of. An id names one event of its account, however often it comes.
CREATE TABLE webhook_events (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id text NOT NULL,
    id text NOT NULL,
    event text NOT NULL,
    at timestamptz(3) NOT NULL,
    data text NOT NULL,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    UNIQUE (account_id, id)
);

CREATE INDEX webhook_events_age ON webhook_events (created_at);

-- One event on its way to one key. history has the latest attempts: at, statusCode, durationMs, failure.
CREATE TABLE webhook_deliveries (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE DEFAULT 'delivery_' || replace(gen_random_uuid()::text, '-', ''),
    event_number bigint NOT NULL REFERENCES webhook_events ON DELETE CASCADE,
    key_id text NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'DELIVERED', 'DEAD')),
    attempts smallint NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz(3),
    history jsonb NOT NULL DEFAULT '[]',
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    UNIQUE (event_number, key_id)
) WITH (fillfactor = 70);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (key_id, due_at, number) WHERE status = 'PENDING';
CREATE INDEX webhook_deliveries_of_key ON webhook_deliveries (key_id, number DESC);

-- What workers take: a key that has something due. One holder at a time, until its lease runs out; the rest waits behind
-- it, so that a receiver that does not answer holds up nobody else, and what is due is found without reading the rest.
CREATE TABLE webhook_destinations (
    key_id text PRIMARY KEY REFERENCES api_keys ON DELETE CASCADE,
    due_at timestamptz,
    holder text,
    leased_until timestamptz,
    failing_since timestamptz
) WITH (fillfactor = 50);

CREATE INDEX webhook_destinations_due ON webhook_destinations (due_at) WHERE due_at IS NOT NULL;

-- What held a key's deliveries up may have been changed.
CREATE FUNCTION wake_webhook() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE webhook_destinations SET due_at = now(), failing_since = CASE
        WHEN (OLD.webhook_url, OLD.webhook_status) IS DISTINCT FROM (NEW.webhook_url, NEW.webhook_status) THEN NULL
        ELSE failing_since
    END WHERE key_id = NEW.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER webhook_woken AFTER UPDATE OF status, scopes, expires_at, webhook_url, webhook_status ON api_keys
    FOR EACH ROW WHEN (NEW.webhook_url IS NOT NULL AND NEW.webhook_status = 'ACTIVE' AND NEW.status = 'ACTIVE'
        AND (OLD.status, OLD.scopes, OLD.expires_at, OLD.webhook_url, OLD.webhook_status)
            IS DISTINCT FROM (NEW.status, NEW.scopes, NEW.expires_at, NEW.webhook_url, NEW.webhook_status))
    EXECUTE FUNCTION wake_webhook();

DROP TRIGGER key_change_audited ON api_keys;
CREATE TRIGGER key_change_audited AFTER UPDATE OF id, account_id, name, description, scopes, rate_limit_per_hour,
    algorithm, status, allowed_ips, expires_at, webhook_url, webhook_secret, webhook_secret_key_id, webhook_events,
    webhook_status, deleted_at ON api_keys
    FOR EACH ROW WHEN (current_setting('gateway.audit', true) IS DISTINCT FROM 'as one')
    EXECUTE FUNCTION audit_row('key', 'id');

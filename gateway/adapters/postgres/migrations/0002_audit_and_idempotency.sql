-- oldest-compatible: 1

-- Who changed what, from where. Entries outlive what they tell of, so nothing here refers to another table.
-- subject_id is what was changed (a key, an account, a user, a signing key), account_id is whose it is.
CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz(3) NOT NULL DEFAULT now(),
    actor_kind text NOT NULL CHECK (actor_kind IN ('user', 'command', 'database')),
    actor_id text NOT NULL,
    actor_role text,
    address text,
    request_id text,
    action text NOT NULL,
    subject_id text NOT NULL,
    account_id text,
    changes jsonb NOT NULL
);

CREATE INDEX audit_log_of_subject ON audit_log (subject_id, id DESC);

-- Append-only, twice. By a trigger, which superusers meet as well. By grants: whoever migrates loses the right to change
-- entries, which deploy/roles.sql withholds from the gateway's role too.
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER append_only;
REVOKE ALL ON audit_log FROM PUBLIC, CURRENT_USER;
GRANT SELECT, INSERT ON audit_log TO CURRENT_USER;

-- The gateway and its commands say who acts in the setting gateway.actor. Where they do not, somebody is at work in SQL.
CREATE FUNCTION write_audit_entry(action text, subject_id text, account_id text, changes jsonb) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO audit_log (actor_kind, actor_id, actor_role, address, request_id, action, subject_id, account_id, changes)
    SELECT coalesce(actor->>'kind', 'database'), coalesce(actor->>'id', session_user), actor->>'role',
           CASE WHEN actor ? 'kind' THEN actor->>'address' ELSE host(inet_client_addr()) END, actor->>'request_id',
           action, subject_id, account_id, changes
    FROM (SELECT coalesce(nullif(current_setting('gateway.actor', true), ''), '{}')::jsonb AS actor) AS acting
$$;

-- Columns by name with their old and new values; of a secret only that it changed. What changes by itself is left out.
CREATE FUNCTION audit_changes(before jsonb, after jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_object_agg(name, CASE
        WHEN name IN ('webhook_secret', 'password_hash', 'private_key') THEN '{"secret": true}'::jsonb
        ELSE jsonb_build_object('old', before->name, 'new', after->name)
    END), '{}')
    FROM jsonb_object_keys(before || after) AS name
    WHERE before->name IS DISTINCT FROM after->name
      AND name NOT IN ('id', 'kid', 'created_at', 'updated_at', 'last_used_at', 'webhook_secret_key_id')
$$;

-- Triggers write the log, so that no way to change a row can forget to. Arguments: what a row is called, its id's column.
CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before jsonb := coalesce(jsonb_strip_nulls(to_jsonb(OLD)), '{}');
    after jsonb := coalesce(jsonb_strip_nulls(to_jsonb(NEW)), '{}');
    present jsonb := before || after;
    changes jsonb := audit_changes(before, after);
    done text := CASE
        WHEN TG_OP = 'INSERT' THEN 'created'
        WHEN TG_OP = 'DELETE' THEN 'erased'
        WHEN after ? 'deleted_at' AND NOT before ? 'deleted_at' THEN 'deleted'
        ELSE 'updated'
    END;
BEGIN
    IF TG_OP <> 'UPDATE' OR changes <> '{}' THEN
        PERFORM write_audit_entry(
            TG_ARGV[0] || '.' || done,
            present->>TG_ARGV[1],
            CASE TG_ARGV[0] WHEN 'account' THEN present->>'id' ELSE present->>'account_id' END,
            changes
        );
    END IF;
    RETURN NULL;
END
$$;

-- A second secret of a key is a rotation; the first comes with the key itself.
CREATE FUNCTION audit_rotation() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    previous key_secrets;
BEGIN
    SELECT * INTO previous FROM key_secrets
    WHERE key_id = NEW.key_id AND digest <> NEW.digest ORDER BY valid_until DESC NULLS FIRST LIMIT 1;
    IF FOUND THEN
        PERFORM write_audit_entry('key.rotated', k.id, k.account_id, jsonb_build_object(
            'key_prefix', jsonb_build_object('old', previous.prefix, 'new', NEW.prefix),
            'previous_valid_until', jsonb_build_object('old', NULL, 'new', previous.valid_until)
        )) FROM api_keys k WHERE k.id = NEW.key_id;
    END IF;
    RETURN NULL;
END
$$;

-- Work on very many keys writes one entry for all of them, and says so in gateway.audit for its transaction.
CREATE TRIGGER key_audited AFTER INSERT OR DELETE ON api_keys
    FOR EACH ROW WHEN (current_setting('gateway.audit', true) IS DISTINCT FROM 'as one')
    EXECUTE FUNCTION audit_row('key', 'id');

-- The columns are listed so that a use of a key, which only moves last_used_at, costs nothing here.
CREATE TRIGGER key_change_audited AFTER UPDATE OF id, account_id, name, description, scopes, rate_limit_per_hour,
    algorithm, status, allowed_ips, expires_at, webhook_url, webhook_secret, webhook_secret_key_id, deleted_at ON api_keys
    FOR EACH ROW WHEN (current_setting('gateway.audit', true) IS DISTINCT FROM 'as one')
    EXECUTE FUNCTION audit_row('key', 'id');

CREATE TRIGGER rotation_audited AFTER INSERT ON key_secrets
    FOR EACH ROW WHEN (current_setting('gateway.audit', true) IS DISTINCT FROM 'as one')
    EXECUTE FUNCTION audit_rotation();

CREATE TRIGGER account_audited AFTER INSERT OR UPDATE OR DELETE ON accounts
    FOR EACH ROW EXECUTE FUNCTION audit_row('account', 'id');

CREATE TRIGGER user_audited AFTER INSERT OR UPDATE OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION audit_row('user', 'id');

CREATE TRIGGER signing_key_audited AFTER INSERT OR UPDATE OR DELETE ON signing_keys
    FOR EACH ROW EXECUTE FUNCTION audit_row('signing_key', 'kid');

-- Requests that came with an Idempotency-Key. The answer, encrypted, holds a key in clear and is kept for minutes; the
-- rest is kept for weeks, so that a late repetition is recognised.
CREATE TABLE idempotency_records (
    scope text NOT NULL,
    operation text NOT NULL,
    idempotency_key text NOT NULL,
    key_id text,
    answer bytea,
    answer_key_id text,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, operation, idempotency_key),
    CHECK ((answer IS NULL) = (answer_key_id IS NULL))
);

CREATE INDEX idempotency_records_answered ON idempotency_records (created_at) WHERE answer IS NOT NULL;
CREATE INDEX idempotency_records_age ON idempotency_records (created_at);

-- oldest-compatible: 1

-- Work on very many keys announces itself once, and says so in gateway.announce for its transaction: a notification for
-- each of a million keys would keep every instance busy for a minute.
DROP TRIGGER key_made_or_gone ON api_keys;
CREATE TRIGGER key_made_or_gone AFTER INSERT OR DELETE ON api_keys
    FOR EACH ROW WHEN (current_setting('gateway.announce', true) IS DISTINCT FROM 'as one')
    EXECUTE FUNCTION announce_key_change();

DROP TRIGGER key_changed ON api_keys;
CREATE TRIGGER key_changed AFTER UPDATE ON api_keys
    FOR EACH ROW WHEN (current_setting('gateway.announce', true) IS DISTINCT FROM 'as one'
        AND to_jsonb(OLD) - 'last_used_at' IS DISTINCT FROM to_jsonb(NEW) - 'last_used_at')
    EXECUTE FUNCTION announce_key_change();

DROP TRIGGER secret_changed ON key_secrets;
CREATE TRIGGER secret_changed AFTER INSERT OR UPDATE OR DELETE ON key_secrets
    FOR EACH ROW WHEN (current_setting('gateway.announce', true) IS DISTINCT FROM 'as one')
    EXECUTE FUNCTION announce_secret_change();

-- How many keys there are, kept by triggers, because counting a million takes longer than a page of them. The count of
-- an account is the sum of its slots: each connection adds to one of them, so that few wait for one another. Slot 0 is
-- for an import, which holds it until it ends.
CREATE TABLE key_counts (
    account_id text NOT NULL,
    status text NOT NULL,
    slot smallint NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (account_id, status, slot)
) WITH (fillfactor = 50);

-- Rows are taken in one order, so that no two connections wait for each other for ever.
CREATE FUNCTION count_new_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO key_counts AS kept (account_id, status, slot, number)
    SELECT account_id, status,
           CASE WHEN sum(count(*)) OVER () > 1000 THEN 0 ELSE 1 + pg_backend_pid() % 15 END,
           count(*)
    FROM made WHERE deleted_at IS NULL GROUP BY account_id, status ORDER BY account_id, status
    ON CONFLICT (account_id, status, slot) DO UPDATE SET number = kept.number + excluded.number;
    RETURN NULL;
END
$$;

CREATE FUNCTION count_changed_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO key_counts AS kept (account_id, status, slot, number)
    SELECT account_id, status, 1 + pg_backend_pid() % 15, sum(change) FROM (
        SELECT OLD.account_id, OLD.status, CASE WHEN OLD.deleted_at IS NULL THEN -1 ELSE 0 END
        UNION ALL
        SELECT NEW.account_id, NEW.status, CASE WHEN NEW.deleted_at IS NULL THEN 1 ELSE 0 END
    ) AS changes (account_id, status, change)
    WHERE account_id IS NOT NULL GROUP BY account_id, status ORDER BY account_id, status
    ON CONFLICT (account_id, status, slot) DO UPDATE SET number = kept.number + excluded.number;
    RETURN NULL;
END
$$;

CREATE TRIGGER new_keys_counted AFTER INSERT ON api_keys
    REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION count_new_keys();

CREATE TRIGGER changed_key_counted AFTER UPDATE OF account_id, status, deleted_at ON api_keys
    FOR EACH ROW WHEN (OLD.status <> NEW.status OR OLD.account_id <> NEW.account_id
        OR (OLD.deleted_at IS NULL) <> (NEW.deleted_at IS NULL))
    EXECUTE FUNCTION count_changed_key();

CREATE TRIGGER gone_key_counted AFTER DELETE ON api_keys FOR EACH ROW EXECUTE FUNCTION count_changed_key();

INSERT INTO key_counts SELECT account_id, status, 0, count(*) FROM api_keys WHERE deleted_at IS NULL GROUP BY 1, 2;

-- A page of an account's keys with one status, and of everybody's keys.
CREATE INDEX api_keys_newest_by_status ON api_keys (account_id, status, created_at DESC, id) WHERE deleted_at IS NULL;
CREATE INDEX api_keys_newest ON api_keys (created_at DESC, id) WHERE deleted_at IS NULL;

-- The search for a part of a name or prefix. Where the extension may not be made, a search reads all names.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX api_keys_name_parts ON api_keys USING gin (name gin_trgm_ops) WHERE deleted_at IS NULL;
    CREATE INDEX key_secrets_prefix_parts ON key_secrets USING gin (prefix gin_trgm_ops) WHERE valid_until IS NULL;
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported OR undefined_object THEN
    RAISE WARNING 'no extension pg_trgm (%): searching many keys will be slow', SQLERRM;
END
$$;

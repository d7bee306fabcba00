-- The gateway's own role, for where it should not own what it works on.
--
--   gateway migrate                          as the owner (DATABASE_URL with the owner's name)
--   psql "$OWNER_URL" -f deploy/roles.sql    as the owner, who may make roles; again after every migration
--   psql "$OWNER_URL" -c '\password gateway_runtime'
--   gateway run                              as gateway_runtime, with postgres.migrate: false
--
-- It reads and writes rows, adds to the audit log without ever changing it, and owns only the usage events, because each
-- day's partition is made by whoever comes first, and dropped when it is too old.

BEGIN;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateway_runtime') THEN
        CREATE ROLE gateway_runtime LOGIN;
    END IF;
END
$$;

GRANT USAGE, CREATE ON SCHEMA public TO gateway_runtime;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO gateway_runtime;
REVOKE UPDATE, DELETE ON audit_log FROM gateway_runtime;
REVOKE INSERT, UPDATE, DELETE ON schema_migrations FROM gateway_runtime;
ALTER TABLE usage_events OWNER TO gateway_runtime;

DO $$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'usage_events'::regclass LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO gateway_runtime', partition);
    END LOOP;
END
$$;

COMMIT;

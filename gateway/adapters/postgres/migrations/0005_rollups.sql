-- oldest-compatible: 1

-- What is asked of usage is answered from sums: by minute for the last days, by hour for the last months. They are made
-- by a trigger, in the transaction that stores the events, so that nothing can be stored and not summed up, or twice.
-- Requests without a key have '' for key and account, those without a status 0.

CREATE TABLE usage_minutes (
    at timestamptz(0) NOT NULL,
    account_id text NOT NULL,
    key_id text NOT NULL,
    route text NOT NULL,
    endpoint text NOT NULL,
    method text NOT NULL,
    status smallint NOT NULL,
    outcome text NOT NULL,
    requests bigint NOT NULL,
    duration_us bigint NOT NULL,
    bytes_in bigint NOT NULL,
    bytes_out bigint NOT NULL,
    latencies bigint[] NOT NULL,
    PRIMARY KEY (key_id, at, endpoint, method, status, outcome, route, account_id)
) WITH (fillfactor = 70);

CREATE INDEX usage_minutes_of_account ON usage_minutes (account_id, at);
CREATE INDEX usage_minutes_at ON usage_minutes USING brin (at);

CREATE TABLE usage_hours (LIKE usage_minutes INCLUDING ALL);

-- A latency histogram: 25 counts, the last of what is above all bounds (microseconds, four to the decade).
-- gateway/core/statistics.py has the same bounds.
CREATE FUNCTION latency_bucket(duration_us bigint) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT width_bucket(duration_us, ARRAY[
        100, 178, 316, 562, 1000, 1778, 3162, 5623, 10000, 17783, 31623, 56234, 100000, 177828, 316228, 562341,
        1000000, 1778279, 3162278, 5623413, 10000000, 17782794, 31622777, 56234133
    ]::bigint[]) + 1
$$;

-- Written out, and not STRICT, so that Postgres puts it in the place of its call: rows of their own then cost a seventh
-- less to add to.
CREATE FUNCTION add_counts(a bigint[], b bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[
        a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], a[5] + b[5], a[6] + b[6],
        a[7] + b[7], a[8] + b[8], a[9] + b[9], a[10] + b[10], a[11] + b[11], a[12] + b[12],
        a[13] + b[13], a[14] + b[14], a[15] + b[15], a[16] + b[16], a[17] + b[17], a[18] + b[18],
        a[19] + b[19], a[20] + b[20], a[21] + b[21], a[22] + b[22], a[23] + b[23], a[24] + b[24],
        a[25] + b[25]
    ]
$$;

CREATE AGGREGATE sum_counts(bigint[]) (
    sfunc = add_counts, stype = bigint[], initcond = '{0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}', parallel = safe
);

-- Rows are written in the order of their key, so that two instances cannot wait for each other.
CREATE FUNCTION sum_up_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH minutes AS MATERIALIZED (
        SELECT
            date_trunc('minute', at, 'UTC') AS at, coalesce(account_id, '') AS account_id,
            coalesce(key_id, '') AS key_id, route, endpoint, method, coalesce(status, 0) AS status, outcome,
            count(*) AS requests, sum(duration_us) AS duration_us, sum(bytes_in) AS bytes_in,
            sum(bytes_out) AS bytes_out,
            ARRAY[
                count(*) FILTER (WHERE bucket = 1), count(*) FILTER (WHERE bucket = 2),
                count(*) FILTER (WHERE bucket = 3), count(*) FILTER (WHERE bucket = 4),
                count(*) FILTER (WHERE bucket = 5), count(*) FILTER (WHERE bucket = 6),
                count(*) FILTER (WHERE bucket = 7), count(*) FILTER (WHERE bucket = 8),
                count(*) FILTER (WHERE bucket = 9), count(*) FILTER (WHERE bucket = 10),
                count(*) FILTER (WHERE bucket = 11), count(*) FILTER (WHERE bucket = 12),
                count(*) FILTER (WHERE bucket = 13), count(*) FILTER (WHERE bucket = 14),
                count(*) FILTER (WHERE bucket = 15), count(*) FILTER (WHERE bucket = 16),
                count(*) FILTER (WHERE bucket = 17), count(*) FILTER (WHERE bucket = 18),
                count(*) FILTER (WHERE bucket = 19), count(*) FILTER (WHERE bucket = 20),
                count(*) FILTER (WHERE bucket = 21), count(*) FILTER (WHERE bucket = 22),
                count(*) FILTER (WHERE bucket = 23), count(*) FILTER (WHERE bucket = 24),
                count(*) FILTER (WHERE bucket = 25)
            ] AS latencies
        FROM (SELECT *, latency_bucket(duration_us) AS bucket FROM stored) AS events
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ), by_minute AS (
        INSERT INTO usage_minutes AS known SELECT * FROM minutes
        ORDER BY key_id, at, endpoint, method, status, outcome, route, account_id
        ON CONFLICT (key_id, at, endpoint, method, status, outcome, route, account_id) DO UPDATE SET
            requests = known.requests + excluded.requests,
            duration_us = known.duration_us + excluded.duration_us,
            bytes_in = known.bytes_in + excluded.bytes_in,
            bytes_out = known.bytes_out + excluded.bytes_out,
            latencies = add_counts(known.latencies, excluded.latencies)
    )
    INSERT INTO usage_hours AS known
    SELECT
        date_trunc('hour', at, 'UTC'), account_id, key_id, route, endpoint, method, status, outcome,
        sum(requests), sum(duration_us), sum(bytes_in), sum(bytes_out), sum_counts(latencies)
    FROM minutes
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ORDER BY 3, 1, 5, 6, 7, 8, 4, 2
    ON CONFLICT (key_id, at, endpoint, method, status, outcome, route, account_id) DO UPDATE SET
        requests = known.requests + excluded.requests,
        duration_us = known.duration_us + excluded.duration_us,
        bytes_in = known.bytes_in + excluded.bytes_in,
        bytes_out = known.bytes_out + excluded.bytes_out,
        latencies = add_counts(known.latencies, excluded.latencies);
    RETURN NULL;
END
$$;

CREATE TRIGGER usage_stored AFTER INSERT ON usage_events
    REFERENCING NEW TABLE AS stored FOR EACH STATEMENT EXECUTE FUNCTION sum_up_usage();

-- What was stored before this migration is summed up by the same function.
CREATE TEMPORARY TABLE stored_before (LIKE usage_events) ON COMMIT DROP;
CREATE TRIGGER usage_stored_before AFTER INSERT ON stored_before
    REFERENCING NEW TABLE AS stored FOR EACH STATEMENT EXECUTE FUNCTION sum_up_usage();
INSERT INTO stored_before SELECT * FROM usage_events;

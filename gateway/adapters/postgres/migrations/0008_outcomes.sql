-- oldest-compatible: 1

-- How requests ended that other proxies carried, as those report it, until the event that it completes is there: it may
-- be shipped later, by another worker or instance. What is reported twice waits once.
CREATE TABLE usage_outcomes (
    id uuid PRIMARY KEY,
    day date NOT NULL,
    reported_at timestamptz(3) NOT NULL DEFAULT now(),
    status smallint NOT NULL,
    duration_us bigint NOT NULL,
    upstream_us bigint,
    bytes_in bigint,
    bytes_out bigint
);

CREATE INDEX usage_outcomes_age ON usage_outcomes (reported_at);

-- One request as a histogram: *number* at its place, 0 elsewhere.
CREATE FUNCTION latency_counts(duration_us bigint, number bigint) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_fill(0::bigint, ARRAY[latency_bucket(duration_us) - 1]) || number
        || array_fill(0::bigint, ARRAY[25 - latency_bucket(duration_us)])
$$;

-- What changes in events changes in their sums, in the same transaction: the old ones are taken off, the new ones added.
-- The rows are those of sum_up_usage, written in the same order, so that neither waits for the other for ever. One that
-- nothing is left of stays, with 0 requests.
CREATE FUNCTION correct_usage_sums() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH minutes AS MATERIALIZED (
        SELECT
            date_trunc('minute', at, 'UTC') AS at, coalesce(account_id, '') AS account_id,
            coalesce(key_id, '') AS key_id, route, endpoint, method, coalesce(status, 0) AS status, outcome,
            sum(number) AS requests, sum(number * duration_us) AS duration_us, sum(number * bytes_in) AS bytes_in,
            sum(number * bytes_out) AS bytes_out, sum_counts(latency_counts(duration_us, number)) AS latencies
        FROM (SELECT 1::bigint AS number, * FROM changed UNION ALL SELECT -1, * FROM changed_from) AS changes
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

CREATE TRIGGER usage_changed AFTER UPDATE ON usage_events
    REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION correct_usage_sums();

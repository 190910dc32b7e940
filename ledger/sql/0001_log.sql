-- The log: immutable events at positions 1..N without a gap, in commit order.
-- The column names are the event store library's; notification_id is the position.
CREATE TABLE ledger_events (
    notification_id bigint NOT NULL,
    originator_id text COLLATE "C" NOT NULL,
    originator_version bigint NOT NULL,
    topic text NOT NULL,
    state bytea NOT NULL,
    leaf_hash bytea NOT NULL,
    CONSTRAINT ledger_events_position_key PRIMARY KEY (notification_id),
    CONSTRAINT ledger_events_stream_key UNIQUE (originator_id, originator_version)
) WITH (
    autovacuum_vacuum_insert_threshold = 1000000,
    autovacuum_analyze_scale_factor = 0.01
);

-- The gate: an empty table whose lock puts writers in a row. The log itself cannot be locked with
-- INSERT and SELECT alone, and its lock would stand still for every VACUUM.
CREATE TABLE gate ();

-- One event on its way into the log.
CREATE TYPE log_entry AS (
    "position" bigint,
    version bigint,
    stream text,
    topic text,
    state bytea
);

-- Abort the transaction when something that must hold does not.
CREATE FUNCTION require(holds boolean, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT coalesce(holds, false) THEN
        RAISE EXCEPTION USING ERRCODE = 'FL001', MESSAGE = what;
    END IF;
END
$$;

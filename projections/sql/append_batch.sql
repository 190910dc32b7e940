-- Book a batch into the read models: what its requests caused, its legs of history, the days that
-- begin with it, and each account's new state where the account still is as it was read.
applied AS (
    INSERT INTO requests (request_id, "position", size)
    SELECT request_id, "position", size FROM unnest(%(applied)s::applied_request[])
),
legs AS (
    INSERT INTO history (
        "position", login, recorded_at, effective_at, operation, amount, balance_change, credit_change,
        balance, credit, server_day, trading_day, digits, corrects, reversed_by, peer, kind, currency,
        group_name, request_id, operator_id, key_id, reference, method, comment, warnings, metadata
    )
    SELECT "position", login, recorded_at, coalesce(effective_at, recorded_at), operation, amount,
        balance_change, credit_change, balance, credit, server_day, trading_day, digits, corrects,
        reversed_by, peer, kind, currency, group_name, request_id, operator_id, key_id, reference, method,
        comment, warnings, metadata
    FROM unnest(%(legs)s::history_leg[])
),
begun AS (
    INSERT INTO days (server_day, trading_day, "position", recorded_at)
    SELECT DISTINCT ON (server_day) server_day, trading_day, "position", recorded_at
    FROM unnest(%(legs)s::history_leg[]) ORDER BY server_day, "position"
    ON CONFLICT (server_day) DO NOTHING
),
moved AS (
    UPDATE accounts a SET
        version = n.version, balance = n.balance, credit = n.credit,
        balance_before_day = n.balance_before_day, balance_before_month = n.balance_before_month,
        balance_day = n.balance_day, balance_month = n.balance_month,
        grants = n.grants, grants_expire_at = n.grants_expire_at
    FROM unnest(%(accounts)s::account_state[]) AS n
    WHERE a.login = n.login AND a.version = n.version_before
    RETURNING 1
)
SELECT require((SELECT count(*) FROM moved) = %(accounts_count)s, 'an account moved under the batch')

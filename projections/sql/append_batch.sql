-- Book a batch into the read models: what its requests caused, its legs of history, what it adds to the
-- sums, and each account's new state where the account still is as it was read, or remembered of this very table
-- (0: it was read under the same gate).
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
    SELECT "position", login, recorded_at, effective_at, operation, amount,
        balance_change, credit_change, balance, credit, server_day, trading_day, digits, corrects,
        reversed_by, peer, kind, currency, group_name, request_id, operator_id, key_id, reference, method,
        comment, warnings, metadata
    FROM unnest(%(legs)s::history_leg[])
),
summed AS (
    INSERT INTO totals_added (
        group_name, enable, balance_day, balance_month, accounts, balance, credit, balance_before_day,
        balance_before_month
    )
    SELECT group_name, enable = 1, balance_day, balance_month, accounts, balance::numeric, credit::numeric,
        balance_before_day::numeric, balance_before_month::numeric
    FROM unnest(%(totals)s::totals_change[])
),
of_days AS (
    INSERT INTO daily_added (server_day, group_name, kind, operations, balance_change, credit_change)
    SELECT server_day, group_name, kind, operations, balance_change::numeric, credit_change::numeric
    FROM unnest(%(daily)s::daily_change[])
),
moved AS (
    UPDATE accounts a SET
        version = n.version, balance = n.balance, credit = n.credit,
        balance_before_day = n.balance_before_day, balance_before_month = n.balance_before_month,
        balance_day = n.balance_day, balance_month = n.balance_month,
        grants = n.grants, grants_expire_at = n.grants_expire_at
    FROM unnest(%(accounts)s::account_state[]) AS n
    WHERE a.login = n.login AND a.version = n.version_before
    RETURNING a.tableoid::bigint AS accounts
)
SELECT CASE
    WHEN (SELECT count(*) FROM moved WHERE %(accounts_table)s::bigint IN (0, accounts)) = %(accounts_count)s THEN NULL
    ELSE require(false, 'an account moved under the batch')
END

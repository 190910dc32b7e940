-- The accounts as their balances were at a position of the log, whatever was booked since: the first leg after
-- it says what there was before. It is compared as a row, so that only the index by login can find it: by time
-- each account would be looked for among all that was booked since. trading_day and server_day are those of that
-- position; where an account's last change is of a later day or month, the first leg on or after the given one
-- says what that began with.
SELECT a.login, a.digits, a.enable, a.leverage, a.group_name, a.currency,
    coalesce(later.balance, a.balance) AS balance,
    coalesce(later.credit, a.credit) AS credit,
    least(a.balance_day, %(trading_day)s::date) AS balance_day,
    CASE WHEN a.balance_day <= %(trading_day)s::date THEN a.balance_before_day ELSE coalesce((
        SELECT h.balance - h.balance_change
        FROM history h
        WHERE h.login = a.login AND h.trading_day >= %(trading_day)s::date AND h.recorded_at >= (
            SELECT min(d.recorded_at) FROM days d WHERE d.trading_day >= %(trading_day)s::date
        )
        ORDER BY h.recorded_at, h."position"
        LIMIT 1
    ), 0) END AS balance_before_day,
    least(a.balance_month, date_trunc('month', %(server_day)s::date)::date) AS balance_month,
    CASE WHEN a.balance_month <= date_trunc('month', %(server_day)s::date)::date
        THEN a.balance_before_month ELSE coalesce((
        SELECT h.balance - h.balance_change
        FROM history h
        WHERE h.login = a.login AND h.server_day >= date_trunc('month', %(server_day)s::date)::date
            AND h.recorded_at >= (
                SELECT min(d.recorded_at) FROM days d
                WHERE d.server_day >= date_trunc('month', %(server_day)s::date)::date
            )
        ORDER BY h.recorded_at, h."position"
        LIMIT 1
    ), 0) END AS balance_before_month
FROM accounts a
LEFT JOIN LATERAL (
    SELECT h.balance - h.balance_change AS balance, h.credit - h.credit_change AS credit
    FROM history h
    WHERE h.login = a.login AND (h.login, h.recorded_at, h."position") > (a.login, %(seen_at)s, %(seen)s)
    ORDER BY h.recorded_at, h."position"
    LIMIT 1
) AS later ON true

-- All accounts with the published fields of an account by name; to stand as a subquery, of which a
-- question takes the columns that it needs. Money is in minor units of the account's currency, flags are
-- 0 or 1, margin_level is in hundredths of a percent, rounded half-even. The same rules in Python: Worth.
-- Every account has a profile and a group: they are joined from the left so that PostgreSQL leaves out the
-- tables of which nothing is asked.
SELECT a.login,
    a.enable::int AS enable,
    p.enable_read_only::int AS enable_read_only,
    p.enable_change_password::int AS enable_change_password,
    a.leverage,
    a.currency,
    a.group_name AS "group",
    p.email, p.country, p.phone, p.comment, p.address, p.city, p.zipcode, p.name, p.regdate,
    CASE WHEN a.balance_day = %(trading_day)s::date
        THEN a.balance_before_day ELSE a.balance END AS prevbalance,
    CASE WHEN a.balance_month = date_trunc('month', %(server_day)s::date)::date
        THEN a.balance_before_month ELSE a.balance END AS prevmonthbalance,
    a.balance,
    a.credit,
    worth.margin,
    worth.equity - worth.margin AS margin_free,
    CASE WHEN worth.margin = 0 THEN 0 ELSE div(worth.equity * 10000.0, worth.margin)
        + CASE WHEN 2 * abs(mod(worth.equity * 10000.0, worth.margin)) > abs(worth.margin)
            OR 2 * abs(mod(worth.equity * 10000.0, worth.margin)) = abs(worth.margin)
                AND mod(div(worth.equity * 10000.0, worth.margin), 2) <> 0
        THEN sign(worth.equity::numeric) * sign(worth.margin::numeric) ELSE 0 END END AS margin_level,
    worth.equity,
    worth.profit,
    worth.net_profit,
    worth.storage,
    worth.commission,
    (o.login IS NOT NULL)::int AS online,
    p.magic,
    p.customer_id,
    a.enable AS enabled,
    a.digits,
    coalesce(f.orders, 0) AS orders,
    coalesce(f.unvalued, 0) AS unvalued,
    CASE WHEN f.orders > 0 THEN f.quoted_at END AS quoted_at
FROM accounts a
LEFT JOIN profiles p ON p.login = a.login
LEFT JOIN groups g ON g.group_name = a.group_name
LEFT JOIN figures f ON f.login = a.login
LEFT JOIN online o ON o.login = a.login
CROSS JOIN LATERAL (
    SELECT coalesce(f.profit, 0) AS profit, coalesce(f.storage, 0) AS storage,
        coalesce(f.commission, 0) AS commission, coalesce(f.margin, 0) AS margin,
        coalesce(f.profit + f.storage + f.commission, 0) AS net_profit,
        a.balance + a.credit + coalesce(
            CASE WHEN g.equity_mode = 'net' THEN f.profit + f.storage + f.commission ELSE f.profit END, 0
        ) AS equity
) AS worth

-- One account with its profile, its balances at the end of the day and month before the given ones, or before
-- those that have begun since with a booking, and what its open positions are worth.
SELECT a.login, a.group_name, a.currency, a.digits, a.enable, a.leverage, a.version, a.balance, a.credit,
    CASE WHEN a.balance_day >= %(trading_day)s THEN a.balance_before_day ELSE a.balance END,
    CASE WHEN a.balance_month >= date_trunc('month', %(server_day)s::date)::date
        THEN a.balance_before_month ELSE a.balance END,
    p.regdate, p.enable_read_only, p.enable_change_password, p.magic, p.customer_id,
    p.name, p.email, p.country, p.phone, p.address, p.city, p.zipcode, p.comment,
    o.login IS NOT NULL,
    coalesce(f.orders, 0), coalesce(f.unvalued, 0), coalesce(f.profit, 0), coalesce(f.storage, 0),
    coalesce(f.commission, 0), coalesce(f.margin, 0), f.quoted_at,
    CASE WHEN NOT EXISTS (SELECT FROM regroupings r WHERE r.login = a.login) THEN ({fed_at}) END
FROM accounts a
JOIN profiles p ON p.login = a.login
LEFT JOIN figures f ON f.login = a.login
LEFT JOIN online o ON o.login = a.login
WHERE a.login = %(login)s

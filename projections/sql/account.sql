-- One account with its profile. Days never go back within a ledger, so a day that was booked on
-- counts where it is later than the clock's.
SELECT a.login, a.group_name, a.currency, a.digits, a.enable, a.leverage, a.version, a.balance, a.credit,
    CASE WHEN a.balance_day = today.trading_day THEN a.balance_before_day ELSE a.balance END,
    CASE WHEN a.balance_month = date_trunc('month', today.server_day)::date
        THEN a.balance_before_month ELSE a.balance END,
    p.regdate, p.enable_read_only, p.enable_change_password, p.magic, p.customer_id,
    p.name, p.email, p.country, p.phone, p.address, p.city, p.zipcode, p.comment
FROM accounts a
JOIN profiles p ON p.login = a.login
CROSS JOIN (
    SELECT greatest((SELECT max(server_day) FROM days), %(server_day)s::date) AS server_day,
        greatest((SELECT trading_day FROM days ORDER BY server_day DESC LIMIT 1), %(trading_day)s::date)
            AS trading_day
) AS today
WHERE a.login = %(login)s

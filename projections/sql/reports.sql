-- The reporting views: what a BI tool may read. Money has exactly the currency's decimals. Nothing here depends on
-- the present time: what does (prevbalance, floating profit, what is stale) is answered by the API.

-- What the ledger is, and how far its money has come. A ledger that was never told its clock has the default one.
CREATE OR REPLACE VIEW {schema}.report_ledger AS
SELECT coalesce(s.timezone, 'UTC') AS timezone, coalesce(s.day_end, '00:00') AS day_end,
    coalesce(s.overnight_days, 'all') AS overnight_days, coalesce(s.book_currency, 'USD') AS book_currency,
    s.simulated_from, d.server_day AS last_server_day, d.trading_day AS last_trading_day,
    h."position" AS last_position, h.recorded_at AS last_recorded_at
FROM (SELECT) AS one
LEFT JOIN server s ON true
LEFT JOIN (SELECT server_day, trading_day FROM days ORDER BY server_day DESC LIMIT 1) AS d ON true
LEFT JOIN (SELECT "position", recorded_at FROM history ORDER BY "position" DESC LIMIT 1) AS h ON true;

-- What each account holds, and held before its last changes.
CREATE OR REPLACE VIEW {schema}.report_accounts AS
SELECT a.login, a.group_name, a.currency, a.digits, a.enable, p.enable_read_only, p.enable_change_password,
    a.leverage, p.country, p.regdate, p.magic, p.customer_id,
    a.balance * ('1e-' || a.digits)::numeric AS balance,
    a.credit * ('1e-' || a.digits)::numeric AS credit,
    a.grants_expire_at AS credit_expires_at,
    a.balance_day,
    a.balance_before_day * ('1e-' || a.digits)::numeric AS balance_before_day,
    a.balance_month,
    a.balance_before_month * ('1e-' || a.digits)::numeric AS balance_before_month
FROM accounts a JOIN profiles p ON p.login = a.login;

-- One row for each leg of a money operation, without what people wrote about it.
CREATE OR REPLACE VIEW {schema}.report_history AS
SELECT h."position", 'bal_' || h.operation AS operation_id, h.login, h.group_name, h.kind, h.currency, h.digits,
    h.amount * unit AS amount,
    h.balance_change * unit AS balance_change, h.credit_change * unit AS credit_change,
    (h.balance - h.balance_change) * unit AS balance_before, h.balance * unit AS balance_after,
    (h.credit - h.credit_change) * unit AS credit_before, h.credit * unit AS credit_after,
    h.recorded_at, h.effective_at, h.server_day, h.trading_day,
    h.request_id, h.operator_id, h.key_id, h.reference, h.method, h.warnings,
    'bal_' || h.corrects AS corrects, 'bal_' || h.reversed_by AS reversed_by, h.peer
FROM history h CROSS JOIN LATERAL (SELECT ('1e-' || h.digits)::numeric AS unit) AS minor;

-- What each kind of operation moved on each server day, by the group at booking.
CREATE OR REPLACE VIEW {schema}.report_daily AS
SELECT d.server_day, d.group_name, g.currency, g.digits, d.kind, sum(d.operations)::bigint AS operations,
    sum(d.balance_change) * ('1e-' || g.digits)::numeric AS balance_change,
    sum(d.credit_change) * ('1e-' || g.digits)::numeric AS credit_change
FROM (TABLE daily UNION ALL TABLE daily_added) AS d JOIN groups g ON g.group_name = d.group_name
GROUP BY d.server_day, d.group_name, g.currency, g.digits, d.kind;

-- What the accounts of each group hold together, enabled and disabled ones apart.
CREATE OR REPLACE VIEW {schema}.report_totals AS
SELECT t.group_name, g.currency, g.digits, t.enable, sum(t.accounts)::bigint AS accounts,
    sum(t.balance) * ('1e-' || g.digits)::numeric AS balance,
    sum(t.credit) * ('1e-' || g.digits)::numeric AS credit
FROM (TABLE totals UNION ALL TABLE totals_added) AS t JOIN groups g ON g.group_name = t.group_name
GROUP BY t.group_name, g.currency, g.digits, t.enable
HAVING sum(t.accounts) <> 0;

-- Personal: what clients are called and where they live.
CREATE OR REPLACE VIEW {schema}.report_personal_accounts AS
SELECT login, name, email, phone, address, city, zipcode, comment FROM profiles;

-- Personal, as far as people wrote so: the texts of money operations. metadata is the text of a JSON object.
CREATE OR REPLACE VIEW {schema}.report_personal_history AS
SELECT "position", 'bal_' || operation AS operation_id, login, comment, metadata
FROM history WHERE comment IS NOT NULL OR metadata IS NOT NULL;

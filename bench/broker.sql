-- Fill the read models of a ledger that has groups and symbols, but no accounts yet: accounts with five
-- operations each, profiles, positions, quotes. The temporary tables size, slot and price say how much of
-- what; numbers are spread by multiplying, so that every run makes the same.

-- Each account with what it held after each of its operations, in the order in which it came to them.
CREATE TEMP TABLE holding AS
SELECT turn.r, a.n, size.first_login + a.n AS login, s.group_name, s.currency, s.digits,
    a.n % 20 <> 13 AS enable, moved.changes, moved.credit,
    ARRAY[
        changes[1], changes[1] + changes[2], changes[1] + changes[2] + changes[3],
        changes[1] + changes[2] + changes[3] + changes[4],
        changes[1] + changes[2] + changes[3] + changes[4] + changes[5]
    ] AS balances
FROM size
CROSS JOIN LATERAL generate_series(0, size.accounts - 1) AS turn (r)
CROSS JOIN LATERAL (SELECT turn.r * 7919 % size.accounts AS n) AS a
CROSS JOIN LATERAL (SELECT 10000 + a.n * 7919 % 990000 AS base) AS b
CROSS JOIN LATERAL (
    SELECT CASE WHEN a.n % 10 = 3 THEN base / 10 ELSE 0 END AS credit,
        ARRAY[
            base, base / 2, -(base / 4), CASE WHEN a.n % 10 = 3 THEN 0 ELSE base / 8 END,
            CASE WHEN a.n % 3 = 0 THEN -(base / 5) ELSE base / 3 END
        ] AS changes
) AS moved
JOIN slot s ON s.number = (a.n * 7919 + a.n / 1000) % 1000
ORDER BY turn.r;

ANALYZE holding;

-- Operations are spread evenly from since to until: the first of every account, then the second, and so on.
DO $$
BEGIN
    FOR k IN 0..4 LOOP
        INSERT INTO history (
            "position", login, recorded_at, effective_at, operation, amount, balance_change, credit_change,
            balance, credit, server_day, trading_day, digits, kind, currency, group_name, operator_id, key_id,
            method, comment
        )
        SELECT first_position + at.n, login, booked, booked, first_position + at.n,
            CASE WHEN k = 3 AND credit > 0 THEN credit ELSE abs(changes[k + 1]) END, changes[k + 1],
            CASE WHEN k = 3 THEN credit ELSE 0 END, balances[k + 1], CASE WHEN k >= 3 THEN credit ELSE 0 END,
            booked::date, booked::date, digits,
            CASE
                WHEN k = 2 THEN 'withdrawal' WHEN k = 3 AND credit > 0 THEN 'credit' WHEN k = 4 THEN 'trade'
                ELSE 'deposit'
            END,
            currency, group_name, 'system', key_id, CASE WHEN k < 3 THEN 'card' END, 'card payment'
        FROM holding
        CROSS JOIN size
        CROSS JOIN LATERAL (SELECT k * size.accounts + holding.r AS n) AS at
        CROSS JOIN LATERAL (
            SELECT since + (until - since) * ((at.n + 1)::double precision / (5 * accounts)) AS booked
        ) AS clock;
    END LOOP;
END
$$;

INSERT INTO days (server_day, trading_day, "position", recorded_at)
SELECT server_day, server_day, min("position"), min(recorded_at) FROM history GROUP BY server_day
ON CONFLICT (server_day) DO NOTHING;

-- The last two operations of an account may be of one month; no two of them are of one day.
INSERT INTO accounts (
    login, version, balance, credit, balance_before_day, balance_before_month, balance_day, balance_month,
    digits, enable, leverage, group_name, currency
)
SELECT login, 6, balances[5], credit, balances[4],
    CASE WHEN date_trunc('month', fourth) = date_trunc('month', fifth) THEN balances[3] ELSE balances[4] END,
    fifth::date, date_trunc('month', fifth)::date, digits, enable, (ARRAY[30, 100, 200, 500])[1 + n / 8 % 4],
    group_name, currency
FROM holding
CROSS JOIN size
CROSS JOIN LATERAL (
    SELECT since + (until - since) * ((3 * accounts + r + 1)::double precision / (5 * accounts)) AS fourth,
        since + (until - since) * ((4 * accounts + r + 1)::double precision / (5 * accounts)) AS fifth
) AS clock
ORDER BY n;

INSERT INTO profiles (
    login, regdate, enable_read_only, enable_change_password, magic, customer_id, name, email, country,
    phone, address, city, zipcode, comment
)
SELECT login, 1500000000 + n * 61, false, true, n % 7, n / 2, 'Client ' || n, 'client' || n || '@example.com',
    (ARRAY['Austria', 'Brazil', 'Chile', 'Denmark', 'Estonia', 'France', 'Ghana', 'Hungary', 'India', 'Japan'])
        [1 + n / 8 % 10],
    '+49 30 ' || n, 'Street ' || n % 1000, 'City ' || n % 500, (10000 + n % 90000)::text,
    CASE WHEN n % 50 = 0 THEN 'by phone only' ELSE '' END
FROM holding
ORDER BY n;

-- Open positions, of some accounts, spread over all symbols but the last, which few kinds of groups hold.
-- The trading server sends the profit of one in fifty.
INSERT INTO positions (
    ticket, login, symbol, buy, lots, open_price, opened_at, storage, commission, profit, margin
)
SELECT ticket, a.login, symbol, ticket % 3 <> 0, (1 + ticket % 97) * 0.01,
    round(mid * (1 + (ticket * 13 % 401 - 200) * 0.0001), p.digits), until, -(ticket % 50), -(ticket % 7),
    CASE WHEN ticket % 50 = 0 THEN ticket % 9000 - 4000 END,
    CASE WHEN ticket % 50 = 0 THEN ticket % 9000 END
FROM size
CROSS JOIN LATERAL generate_series(1, size.positions) AS ticket
CROSS JOIN LATERAL (SELECT (ticket * 7 + ticket / holders * 131) % 500 AS number) AS any_symbol
JOIN accounts a ON a.login = first_login + 8 * (ticket % holders) + 1
JOIN price p ON p.number = CASE
    WHEN any_symbol.number = 499 AND left(a.group_name, 3) NOT IN ('tes', 'pro') THEN 498
    ELSE any_symbol.number
END;

INSERT INTO quotes (symbol, bid, ask, quoted_at, received_at)
SELECT symbol, mid - step, mid + step, until, until
FROM price CROSS JOIN size CROSS JOIN LATERAL (SELECT 10::numeric ^ -price.digits AS step) AS s;

UPDATE feed_streams SET received_at = until, as_of = until FROM size WHERE stream IN ('quotes', 'positions');

INSERT INTO online (login) SELECT login FROM holding WHERE n % 16 = 1;

-- Let the staged positions be the open ones, of accounts within reach; tickets that are staged as not open stay as
-- they are. Give the logins touched.
WITH staged AS (
    SELECT ticket, login, symbol, buy, lots, open_price, opened_at, storage, commission, profit, margin
    FROM position_parts WHERE open
),
moved AS (
    SELECT o.login FROM positions o JOIN staged s ON s.ticket = o.ticket WHERE o.login <> s.login
),
put AS (
    INSERT INTO positions AS o (
        ticket, login, symbol, buy, lots, open_price, opened_at, storage, commission, profit, margin
    )
    SELECT * FROM staged
    ON CONFLICT (ticket) DO UPDATE SET login = excluded.login, symbol = excluded.symbol, buy = excluded.buy,
        lots = excluded.lots, open_price = excluded.open_price, opened_at = excluded.opened_at,
        storage = excluded.storage, commission = excluded.commission, profit = excluded.profit,
        margin = excluded.margin
    WHERE (
        o.login, o.symbol, o.buy, o.lots, o.open_price, o.opened_at, o.storage, o.commission, o.profit, o.margin
    ) IS DISTINCT FROM (
        excluded.login, excluded.symbol, excluded.buy, excluded.lots, excluded.open_price, excluded.opened_at,
        excluded.storage, excluded.commission, excluded.profit, excluded.margin
    )
    RETURNING login
),
gone AS (
    DELETE FROM positions o
    WHERE NOT EXISTS (SELECT 1 FROM position_parts s WHERE s.ticket = o.ticket)
        AND (%(reach_logins)s::bigint[] IS NULL OR o.login = ANY(%(reach_logins)s::bigint[]))
        AND (%(reach_groups)s::text[] IS NULL OR EXISTS (
            SELECT 1 FROM accounts a WHERE a.login = o.login AND a.group_name = ANY(%(reach_groups)s::text[])
        ))
    RETURNING login
)
SELECT login FROM moved UNION SELECT login FROM put UNION SELECT login FROM gone

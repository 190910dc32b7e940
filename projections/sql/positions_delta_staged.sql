-- Let a delta count for the snapshot under way too: its parts must not bring back what has changed since.
-- Give the staged tickets that it closes.
WITH closing AS (
    SELECT ticket FROM position_parts WHERE open AND ticket = ANY(%(closed)s::bigint[])
),
put AS (
    INSERT INTO position_parts (
        ticket, login, symbol, buy, lots, open_price, opened_at, storage, commission, profit, margin, open, by_delta
    )
    SELECT given.*, true, true FROM (
        SELECT * FROM unnest(
            %(tickets)s::bigint[], %(logins)s::bigint[], %(symbols)s::text[], %(buys)s::boolean[],
            %(lots)s::numeric[], %(open_prices)s::numeric[], %(opened_ats)s::timestamptz[], %(storages)s::bigint[],
            %(commissions)s::bigint[], %(profits)s::bigint[], %(margins)s::bigint[]
        ) AS given (
            ticket, login, symbol, buy, lots, open_price, opened_at, storage, commission, profit, margin
        )
    ) AS given
    UNION ALL
    SELECT ticket, 0, '', false, 0, 0, NULL, 0, 0, NULL, NULL, false, true
    FROM unnest(%(closed)s::bigint[]) AS closed (ticket)
    ON CONFLICT (ticket) DO UPDATE SET login = excluded.login, symbol = excluded.symbol, buy = excluded.buy,
        lots = excluded.lots, open_price = excluded.open_price, opened_at = excluded.opened_at,
        storage = excluded.storage, commission = excluded.commission, profit = excluded.profit,
        margin = excluded.margin, open = excluded.open, by_delta = excluded.by_delta
)
SELECT ticket FROM closing

-- Stage a part of a snapshot; what a delta has told since it began stands. Doubtful tickets stay as they are.
INSERT INTO position_parts AS s (
    ticket, login, symbol, buy, lots, open_price, opened_at, storage, commission, profit, margin, open, by_delta
)
SELECT given.*, NOT ticket = ANY(%(doubtful)s::bigint[]), false FROM (
    SELECT * FROM unnest(
        %(tickets)s::bigint[], %(logins)s::bigint[], %(symbols)s::text[], %(buys)s::boolean[],
        %(lots)s::numeric[], %(open_prices)s::numeric[], %(opened_ats)s::timestamptz[], %(storages)s::bigint[],
        %(commissions)s::bigint[], %(profits)s::bigint[], %(margins)s::bigint[]
    ) AS given (
        ticket, login, symbol, buy, lots, open_price, opened_at, storage, commission, profit, margin
    )
) AS given
UNION ALL
SELECT ticket, 0, '', false, 0, 0, NULL, 0, 0, NULL, NULL, false, false
FROM unnest(%(doubtful)s::bigint[]) AS doubtful (ticket)
WHERE NOT ticket = ANY(%(tickets)s::bigint[])
ON CONFLICT (ticket) DO UPDATE SET login = excluded.login, symbol = excluded.symbol, buy = excluded.buy,
    lots = excluded.lots, open_price = excluded.open_price, opened_at = excluded.opened_at,
    storage = excluded.storage, commission = excluded.commission, profit = excluded.profit,
    margin = excluded.margin, open = excluded.open, by_delta = excluded.by_delta
WHERE NOT s.by_delta

-- Replace the positions of these tickets and close those; give the logins touched, and each closed ticket.
WITH told AS (
    SELECT * FROM unnest(
        %(tickets)s::bigint[], %(logins)s::bigint[], %(symbols)s::text[], %(buys)s::boolean[],
        %(lots)s::numeric[], %(open_prices)s::numeric[], %(opened_ats)s::timestamptz[], %(storages)s::bigint[],
        %(commissions)s::bigint[], %(profits)s::bigint[], %(margins)s::bigint[]
    ) AS given (
        ticket, login, symbol, buy, lots, open_price, opened_at, storage, commission, profit, margin
    )
),
moved AS (
    SELECT o.login FROM positions o JOIN told t ON t.ticket = o.ticket WHERE o.login <> t.login
),
put AS (
    INSERT INTO positions AS o (
        ticket, login, symbol, buy, lots, open_price, opened_at, storage, commission, profit, margin
    )
    SELECT * FROM told
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
    DELETE FROM positions WHERE ticket = ANY(%(closed)s::bigint[]) RETURNING login, ticket
)
SELECT login, NULL::bigint FROM moved
UNION ALL SELECT login, NULL FROM put
UNION ALL SELECT login, ticket FROM gone

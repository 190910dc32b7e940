-- Value the accounts that a feed call touched, and keep the sums of figures with them. Rates come as exact
-- quotients, which are carried to 60 decimals; each account's figures are rounded once at the end: first to 30
-- decimals, which mends what never-ending fractions lost, then half-even to the currency's digits. What is
-- beyond a bigint cannot be told: it counts as unvalued.
WITH rates AS (
    SELECT * FROM unnest(
        %(sources)s::text[], %(targets)s::text[], %(numerators)s::numeric[], %(denominators)s::numeric[],
        %(rated_at)s::timestamptz[]
    ) AS rate (source, target, numerator, denominator, quoted_at)
),
market AS MATERIALIZED (
    -- What a lot of each symbol is worth in each account currency's minor units, by a price of one.
    SELECT s.symbol, c.currency, q.bid, q.ask,
        trim_scale(round(s.contract_size * 10::numeric ^ c.digits * profit.numerator, 60) / profit.denominator)
            AS worth,
        least(q.quoted_at, profit.quoted_at) AS worth_at,
        trim_scale(
            round(s.contract_size * 10::numeric ^ c.digits * s.margin_rate * base.numerator, 60) / base.denominator
        ) AS tied,
        base.quoted_at AS tied_at
    FROM symbols s
    CROSS JOIN (SELECT DISTINCT currency, digits FROM groups) c
    LEFT JOIN quotes q ON q.symbol = s.symbol
    LEFT JOIN rates profit ON profit.source = s.profit_currency AND profit.target = c.currency
    LEFT JOIN rates base ON base.source = s.base_currency AND base.target = c.currency
),
touched AS (
    SELECT login FROM positions WHERE symbol = ANY(%(symbols)s::text[])
    UNION
    SELECT p.login
    FROM unnest(%(converted)s::text[], %(currencies)s::text[]) AS c (symbol, currency)
    JOIN positions p ON p.symbol = c.symbol
    JOIN accounts a ON a.login = p.login AND a.currency = c.currency
    UNION
    SELECT unnest(%(logins)s::bigint[])
    UNION
    SELECT login FROM positions WHERE %(everything)s
    UNION
    SELECT login FROM figures WHERE %(everything)s
),
valued AS (
    SELECT a.login, a.group_name, a.enable,
        count(p.ticket)::integer AS orders,
        count(p.ticket) FILTER (
            WHERE (p.profit IS NULL AND (m.bid IS NULL OR m.worth IS NULL)) OR (p.margin IS NULL AND m.tied IS NULL)
        )::integer AS unvalued,
        round(coalesce(sum(p.profit), 0) + coalesce(sum(
            CASE WHEN p.profit IS NULL THEN
                CASE WHEN p.buy THEN m.bid - p.open_price ELSE p.open_price - m.ask END
                * p.lots * m.worth
            END
        ), 0), 30) AS profit,
        coalesce(sum(p.storage), 0) AS storage,
        coalesce(sum(p.commission), 0) AS commission,
        round(coalesce(sum(p.margin), 0) + round(coalesce(sum(
            CASE WHEN p.margin IS NULL THEN p.lots * m.tied END
        ), 0), 60) / a.leverage, 30) AS margin,
        min(least(
            CASE WHEN p.profit IS NULL THEN m.worth_at END, CASE WHEN p.margin IS NULL THEN m.tied_at END
        )) AS quoted_at
    FROM touched t
    JOIN accounts a ON a.login = t.login
    LEFT JOIN positions p ON p.login = a.login
    LEFT JOIN market m ON m.symbol = p.symbol AND m.currency = a.currency
    GROUP BY a.login
),
told AS (
    SELECT *, greatest(abs(profit), abs(storage), abs(commission), abs(margin)) < 1e18 AS tellable FROM valued
),
present AS (
    SELECT login, group_name, enable, orders,
        CASE WHEN tellable THEN unvalued ELSE orders END AS unvalued,
        CASE WHEN tellable THEN round(profit) - CASE
            WHEN abs(profit - trunc(profit)) = 0.5 AND mod(round(profit), 2) <> 0 THEN sign(profit) ELSE 0
        END ELSE 0 END::bigint AS profit,
        CASE WHEN tellable THEN storage ELSE 0 END::bigint AS storage,
        CASE WHEN tellable THEN commission ELSE 0 END::bigint AS commission,
        CASE WHEN tellable THEN round(margin) - CASE
            WHEN abs(margin - trunc(margin)) = 0.5 AND mod(round(margin), 2) <> 0 THEN sign(margin) ELSE 0
        END ELSE 0 END::bigint AS margin,
        quoted_at
    FROM told
),
changed AS MATERIALIZED (
    SELECT p.*, f.login IS NOT NULL AS known, f.group_name AS old_group_name, f.enable AS old_enable,
        f.orders AS old_orders, f.unvalued AS old_unvalued, f.profit AS old_profit, f.storage AS old_storage,
        f.commission AS old_commission, f.margin AS old_margin
    FROM present p
    LEFT JOIN figures f ON f.login = p.login
    WHERE (f.login IS NOT NULL OR p.orders > 0) AND (
        p.group_name, p.enable, p.orders, p.unvalued, p.profit, p.storage, p.commission, p.margin, p.quoted_at
    ) IS DISTINCT FROM (
        f.group_name, f.enable, f.orders, f.unvalued, f.profit, f.storage, f.commission, f.margin, f.quoted_at
    )
),
replaced AS (
    UPDATE figures f SET group_name = c.group_name, enable = c.enable, orders = c.orders,
        unvalued = c.unvalued, profit = c.profit, storage = c.storage, commission = c.commission,
        margin = c.margin, quoted_at = c.quoted_at
    FROM changed c
    WHERE f.login = c.login AND c.known
),
added AS (
    INSERT INTO figures (
        login, group_name, enable, orders, unvalued, profit, storage, commission, margin, quoted_at
    )
    SELECT login, group_name, enable, orders, unvalued, profit, storage, commission, margin, quoted_at
    FROM changed WHERE NOT known
)
INSERT INTO figure_totals AS t (group_name, enable, orders, unvalued, profit, storage, commission, margin)
SELECT group_name, enable, sum(orders), sum(unvalued), sum(profit), sum(storage), sum(commission), sum(margin)
FROM (
    SELECT group_name, enable, orders, unvalued, profit, storage, commission, margin FROM changed
    UNION ALL
    SELECT old_group_name, old_enable, -old_orders, -old_unvalued, -old_profit, -old_storage,
        -old_commission, -old_margin
    FROM changed WHERE known
) AS moved
GROUP BY group_name, enable
ON CONFLICT (group_name, enable) DO UPDATE SET orders = t.orders + excluded.orders,
    unvalued = t.unvalued + excluded.unvalued, profit = t.profit + excluded.profit,
    storage = t.storage + excluded.storage, commission = t.commission + excluded.commission,
    margin = t.margin + excluded.margin

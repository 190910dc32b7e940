-- Open positions added up by symbol, side and currency of the account, clients and coverage apart. Where the
-- trading server sent a profit, that is summed; of the rest, the lots and what they were opened at.
SELECT p.symbol, a.currency, a.digits, g.coverage, p.buy, count(*), sum(p.lots), sum(p.lots * p.open_price),
    coalesce(sum(p.profit), 0),
    coalesce(sum(p.lots) FILTER (WHERE p.profit IS NULL), 0),
    coalesce(sum(p.lots * p.open_price) FILTER (WHERE p.profit IS NULL), 0)
FROM positions p
JOIN accounts a ON a.login = p.login
JOIN groups g ON g.group_name = a.group_name
WHERE a.group_name = ANY(%(groups)s) AND (%(logins)s::bigint[] IS NULL OR a.login = ANY(%(logins)s::bigint[]))
GROUP BY p.symbol, a.currency, a.digits, g.coverage, p.buy
ORDER BY p.symbol, a.currency, a.digits, g.coverage, p.buy

-- The quotes that are rates of exchange: of symbols named after their two currencies, of a pair the first by
-- name. The book currency stands with each, which saves another question. With `among` only those between
-- some currencies.
SELECT DISTINCT ON (s.base_currency, s.profit_currency)
    s.symbol, s.base_currency, s.profit_currency, q.bid, q.ask, q.quoted_at,
    (SELECT book_currency FROM server)
FROM symbols s
JOIN quotes q ON q.symbol = s.symbol
WHERE s.base_currency <> s.profit_currency AND starts_with(s.symbol, s.base_currency || s.profit_currency)
    AND q.bid > 0 AND q.ask > 0
    AND (%(among)s::text[] IS NULL
        OR s.base_currency = ANY(%(among)s) AND s.profit_currency = ANY(%(among)s))
ORDER BY s.base_currency, s.profit_currency, s.symbol

-- The quotes that are rates of exchange: of symbols named after their two currencies, first by name.
SELECT s.symbol, s.base_currency, s.profit_currency, q.bid, q.ask, q.quoted_at
FROM symbols s
JOIN quotes q ON q.symbol = s.symbol
WHERE s.base_currency <> s.profit_currency AND starts_with(s.symbol, s.base_currency || s.profit_currency)
    AND q.bid > 0 AND q.ask > 0
ORDER BY s.symbol

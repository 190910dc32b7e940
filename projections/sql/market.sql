-- Every symbol with its latest quote, if there is one.
SELECT s.symbol, s.digits, s.contract_size, s.base_currency, s.profit_currency, q.bid, q.ask, q.quoted_at
FROM symbols s
LEFT JOIN quotes q ON q.symbol = s.symbol

-- What the matched rows add up to, by currency and kind.
SELECT h.currency, h.digits, h.kind, count(*), sum(h.balance_change), sum(h.credit_change)
FROM history h
WHERE {where} AND {bounds}
GROUP BY h.currency, h.digits, h.kind
ORDER BY h.currency, h.digits, h.kind

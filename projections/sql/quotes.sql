-- Put quotes in the place of those that are not newer; give the symbols that have them now.
INSERT INTO quotes AS q (symbol, bid, ask, quoted_at, received_at)
SELECT symbol, bid, ask, quoted_at, %(now)s
FROM unnest(
    %(symbols)s::text[], %(bids)s::numeric[], %(asks)s::numeric[], %(times)s::timestamptz[]
) AS given (symbol, bid, ask, quoted_at)
ON CONFLICT (symbol) DO UPDATE SET bid = excluded.bid, ask = excluded.ask, quoted_at = excluded.quoted_at,
    received_at = excluded.received_at
WHERE q.quoted_at <= excluded.quoted_at
RETURNING symbol

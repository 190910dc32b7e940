-- Up to when the open positions are known, where figures are of the present definitions: null makes them stale.
SELECT s.as_of FROM feed_streams s
JOIN valuation v ON v.one
WHERE s.stream = 'positions'
    AND NOT EXISTS (SELECT FROM symbols d WHERE d."position" > v.defined)
    AND NOT EXISTS (SELECT FROM server d WHERE d."position" > v.defined)

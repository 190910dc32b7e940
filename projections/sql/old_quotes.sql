-- One account of some groups and flags whose figures are of an old quote, from among the holders of some
-- symbols: always from positions to accounts, however many accounts there are.
SELECT p.login
FROM unnest(%(symbols)s::text[]) AS old (symbol)
JOIN positions p ON p.symbol = old.symbol
CROSS JOIN LATERAL (
    SELECT FROM accounts a
    JOIN figures f ON f.login = a.login
    WHERE a.login = p.login AND a.group_name = ANY(%(groups)s) AND a.enable = ANY(%(flags)s::int[]::boolean[])
        AND f.quoted_at < %(oldest)s
    LIMIT 1
) AS valued
LIMIT 1

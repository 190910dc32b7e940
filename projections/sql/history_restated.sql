-- What accounts held, by effective time, after each of some rows: what they held as booked before the
-- first of these rows, and the changes recorded since that were effective by then.
SELECT r."position", coalesce(b.balance, 0) + r.balance, coalesce(b.credit, 0) + r.credit
FROM unnest(%(logins)s, %(first_at)s, %(last_at)s) AS account (login, first_at, last_at)
LEFT JOIN LATERAL (
    SELECT o.balance, o.credit FROM history o
    WHERE o.login = account.login AND o.recorded_at < account.first_at
    ORDER BY o.recorded_at DESC, o."position" DESC LIMIT 1
) AS b ON true
CROSS JOIN LATERAL (
    SELECT o."position", sum(o.balance_change) OVER w AS balance, sum(o.credit_change) OVER w AS credit
    FROM history o
    WHERE o.login = account.login AND o.recorded_at >= account.first_at AND o.effective_at <= account.last_at
        AND o."position" <= %(seen)s
    WINDOW w AS (ORDER BY o.effective_at, o."position" ROWS UNBOUNDED PRECEDING)
) AS r
WHERE r."position" = ANY(%(positions)s)

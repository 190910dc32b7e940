-- What an account held before a key by effective time: as booked by then, and what was booked later that
-- was effective before. Nothing is effective after it was recorded.
SELECT a.login, a.currency, a.digits, a.group_name,
    coalesce(h.balance, 0) + coalesce(late.balance, 0),
    coalesce(h.credit, 0) + coalesce(late.credit, 0),
    coalesce(late."position", h."position")
FROM accounts a
LEFT JOIN LATERAL (
    SELECT o.balance, o.credit, o."position" FROM history o
    WHERE o.login = a.login AND (o.recorded_at, o."position") < (%(at)s, %(position)s)
    ORDER BY o.recorded_at DESC, o."position" DESC LIMIT 1
) AS h ON true
CROSS JOIN LATERAL (
    SELECT sum(o.balance_change) AS balance, sum(o.credit_change) AS credit, max(o."position") AS "position"
    FROM history o
    WHERE o.login = a.login AND (o.recorded_at, o."position") >= (%(at)s, %(position)s)
        AND (o.effective_at, o."position") < (%(at)s, %(position)s)
) AS late
WHERE a.login = %(login)s

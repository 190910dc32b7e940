-- What an account held, as booked, before a key: one look into history's index.
SELECT a.login, a.currency, a.digits, a.group_name, coalesce(h.balance, 0), coalesce(h.credit, 0), h."position"
FROM accounts a
LEFT JOIN LATERAL (
    SELECT o.balance, o.credit, o."position" FROM history o
    WHERE o.login = a.login AND (o.recorded_at, o."position") < (%(at)s, %(position)s)
    ORDER BY o.recorded_at DESC, o."position" DESC LIMIT 1
) AS h ON true
WHERE a.login = %(login)s

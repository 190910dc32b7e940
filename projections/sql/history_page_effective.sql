-- A page of history by effective time, with what the account held after each row by effective time.
-- Nothing is effective after it was recorded. So the page comes from two lists: what was booked at once,
-- which is in the order of its recorded time, and what was booked late. And an account held, at a row,
-- what it held as booked before the page's first instant, and the changes recorded since that count.
WITH page AS (
    SELECT * FROM (
        (
            SELECT h.*, h.recorded_at AS at FROM history h
            WHERE h.effective_at >= h.recorded_at AND {where} AND {recorded}
            ORDER BY h.recorded_at {order}, h."position" {order}
            LIMIT (SELECT %(limit)s + %(offset)s)
        )
        UNION ALL
        (
            SELECT h.*, h.effective_at AS at FROM history h
            WHERE h.effective_at < h.recorded_at AND {where} AND {effective}
            ORDER BY h.effective_at {order}, h."position" {order}
            LIMIT (SELECT %(limit)s + %(offset)s)
        )
    ) AS h
    ORDER BY h.at {order}, h."position" {order}
    LIMIT %(limit)s OFFSET %(offset)s
),
accounts_of_page AS (
    SELECT login, min(at) AS first_at, max(at) AS last_at FROM page GROUP BY login
),
restated AS (
    SELECT r."position", coalesce(b.balance, 0) + r.balance AS balance, coalesce(b.credit, 0) + r.credit AS credit
    FROM accounts_of_page p
    LEFT JOIN LATERAL (
        SELECT o.balance, o.credit FROM history o
        WHERE o.login = p.login AND o.recorded_at < p.first_at
        ORDER BY o.recorded_at DESC, o."position" DESC LIMIT 1
    ) AS b ON true
    CROSS JOIN LATERAL (
        SELECT o."position", sum(o.balance_change) OVER w AS balance, sum(o.credit_change) OVER w AS credit
        FROM history o
        WHERE o.login = p.login AND o.recorded_at >= p.first_at AND o.effective_at <= p.last_at
        WINDOW w AS (ORDER BY o.effective_at, o."position" ROWS UNBOUNDED PRECEDING)
    ) AS r
)
SELECT {columns}, r.balance, r.credit
FROM page h
JOIN restated r ON r."position" = h."position"
ORDER BY h.at {order}, h."position" {order}

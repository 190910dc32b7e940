-- A page of the history of a few logins by recorded time: as many keys of each as may be on the page,
-- then the rows of those that are.
SELECT {columns}, h.balance, h.credit
FROM (
    SELECT one."position"
    FROM unnest(%(logins)s) AS seen (login)
    CROSS JOIN LATERAL (
        SELECT h.recorded_at, h."position"
        FROM history h
        WHERE h.login = seen.login AND {where} AND {recorded}
        ORDER BY h.recorded_at {order}, h."position" {order}
        LIMIT (SELECT %(limit)s + %(offset)s)
    ) AS one
    ORDER BY one.recorded_at {order}, one."position" {order}
    LIMIT %(limit)s OFFSET %(offset)s
) AS page
CROSS JOIN LATERAL (SELECT * FROM history o WHERE o."position" = page."position" LIMIT 1) AS h
ORDER BY h.recorded_at {order}, h."position" {order}

-- A page of history by recorded time some rows on: the keys first, from the index alone where the
-- filter allows, then the rows of this page only.
SELECT {columns}, h.balance, h.credit
FROM (
    SELECT h."position"
    FROM history h
    WHERE {where} AND {recorded}
    ORDER BY h.recorded_at {order}, h."position" {order}
    LIMIT (SELECT %(limit)s) OFFSET (SELECT %(offset)s)
) AS page
CROSS JOIN LATERAL (SELECT * FROM history o WHERE o."position" = page."position" LIMIT 1) AS h
ORDER BY h.recorded_at {order}, h."position" {order}

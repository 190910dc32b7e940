-- A page of history by recorded time some rows on: the keys first, from the index alone where the
-- filter allows, then the rows of this page only.
SELECT {columns}, h.balance, h.credit
FROM (
    SELECT h."position"
    FROM history h
    WHERE {where} AND {recorded}
    ORDER BY h.recorded_at {order}, h."position" {order}
    LIMIT %(limit)s OFFSET %(offset)s
) AS page
JOIN history h ON h."position" = page."position"
ORDER BY h.recorded_at {order}, h."position" {order}

-- A page of history by effective time. Nothing is effective after it was recorded, so the page comes from
-- two lists: what was booked at once, which is in the order of its recorded time, and what was booked
-- late. What the rows say an account held is as booked, to be restated over what is seen here: the rows
-- up to the position in the last column.
SELECT {columns}, h.balance, h.credit, (SELECT max("position") FROM history)
FROM (
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

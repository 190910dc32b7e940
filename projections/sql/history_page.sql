-- A page of history by recorded time; the key range and the order are those of an index. The limit
-- stands in a subquery so that the planner, not knowing it, walks that index rather than sort.
SELECT {columns}, h.balance, h.credit
FROM history h
WHERE {where} AND {recorded}
ORDER BY h.recorded_at {order}, h."position" {order}
LIMIT (SELECT %(limit)s)

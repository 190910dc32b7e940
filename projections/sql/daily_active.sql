-- How many accounts had an operation on a server day, by group at booking and by currency. Days never go
-- back, so a day is a range of positions.
SELECT h.group_name, h.currency, count(DISTINCT h.login)
FROM history h
WHERE h."position" >= %(first)s AND h."position" < %(past)s AND h.group_name = ANY(%(groups)s)
GROUP BY GROUPING SETS ((h.group_name), (h.currency))

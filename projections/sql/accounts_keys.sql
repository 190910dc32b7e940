-- The logins of one page, from the columns alone that the filter and the order name.
SELECT v.login
FROM ({accounts}) AS v
WHERE {where}
ORDER BY {order}
LIMIT %(limit)s OFFSET %(offset)s

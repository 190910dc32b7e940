-- The users export: all matched accounts by login, a line each, which the database writes itself.
COPY (
    SELECT {cells}
    FROM ({accounts}) AS v
    WHERE {where}
    ORDER BY v.login
) TO STDOUT ({layout})
